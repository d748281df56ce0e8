// xmpp.js as a chat client for tests/interop: commands come in on stdin and events go out on stdout, one JSON object a line.
//
// usage: node chat.mjs PACKAGES JID PASSWORD HOST PORT      PACKAGES: the folder with node_modules
// commands: {"do": "subscribe" | "approve", "to"}  {"do": "say", "to", "body"}  {"do": "quit"}
// events:   {"event": "online", "jid", "mechanism", "tls"} | "failed", "why" | "message", "from", "body" |
//           "presence", "from", "type" | "push", "contact", "subscription" | "offline"
// The CA it trusts is that of NODE_EXTRA_CA_CERTS; Node checks the chain and the name.
import { webcrypto } from "node:crypto";
import { createRequire } from "node:module";
import { createInterface } from "node:readline";
import { pathToFileURL } from "node:url";

globalThis.crypto ??= webcrypto; // Node 18 of Debian 12 does not offer it by itself

const [packages, address, password, host, port] = process.argv.slice(2);
const { client, xml, jid } = await import(pathToFileURL(createRequire(`${packages}/`).resolve("@xmpp/client")));

const tell = (event, more = {}) => process.stdout.write(JSON.stringify({ event, ...more }) + "\n");
const { local, domain } = jid(address);

let mechanism;
const xmpp = client({
  service: `xmpp://${host}:${port}`,
  domain,
  resource: "xmpp.js",
  timeout: 20000, // its own limit of 2 s is less than SCRAM in JavaScript takes on a busy machine
  credentials: async (authenticate, offered) => {
    mechanism = Array.isArray(offered) ? offered[0] : offered;
    await authenticate({ username: local, password }, mechanism);
  },
});
xmpp.reconnect.stop();

xmpp.on("error", (error) => {
  tell("failed", { why: String(error) });
  process.exit(1);
});
xmpp.on("stanza", (stanza) => {
  const from = stanza.attrs.from;
  if (stanza.is("message") && stanza.getChild("body")) {
    tell("message", { from, body: stanza.getChildText("body") });
  } else if (stanza.is("presence")) {
    tell("presence", { from, type: stanza.attrs.type ?? "available" });
  } else if (stanza.is("iq") && stanza.attrs.type === "set" && stanza.getChild("query", "jabber:iq:roster")) {
    const { jid: contact, subscription } = stanza.getChild("query").getChild("item").attrs;
    tell("push", { contact, subscription });
  }
});
xmpp.on("online", async (me) => {
  const tls = xmpp.socket.socket?.getProtocol?.() ?? xmpp.socket.getProtocol?.();
  await xmpp.iqCaller.get(xml("query", "jabber:iq:roster"));
  await xmpp.send(xml("presence"));
  tell("online", { jid: me.toString(), mechanism, tls });
});

const actions = {
  subscribe: ({ to }) => xmpp.send(xml("presence", { to, type: "subscribe" })),
  approve: ({ to }) => xmpp.send(xml("presence", { to, type: "subscribed" })),
  say: ({ to, body }) => xmpp.send(xml("message", { to, type: "chat" }, xml("body", {}, body))),
  quit: async () => {
    await xmpp.stop();
    tell("offline");
    process.exit(0);
  },
};
createInterface({ input: process.stdin }).on("line", async (line) => {
  const command = JSON.parse(line);
  await actions[command.do](command);
});

xmpp.start().catch((error) => {
  tell("failed", { why: String(error) });
  process.exit(1);
});
