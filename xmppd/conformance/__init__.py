"""The executable letter of compliance: every requirement of UC XMPP 2013, checked against any XMPP server.

The package shares no code with the server: it speaks to it over sockets and reads what comes back with its own
means, so that a fault of the server cannot hide in code that both have.

    requirements   what is asked for, part by part, and which parts are selected
    checks         one file per section, one short script of a conversation per part
    client         what such a script says and expects
    subject        the server under test; launcher, launchers: how it is started and changed
    runner         runs the checks; verdict, transcript, report: what came of it
"""
