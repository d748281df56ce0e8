/* The parts of an address as RFC 7622 prepares them; JID_RFC7622 of jid.h has them in one place.
 *
 * Localpart: the UsernameCaseMapped profile of RFC 8265 without the characters of RFC 7622 3.3.1; resourcepart: its
 * OpaqueString profile; domainpart: U-labels of IDNA2008 (RFC 5890 to 5893, mapped by RFC 5895), or an IP address. What
 * comes out is prepared again until it stays the same (RFC 8264 7). Code points that the Unicode of the build does not
 * know are refused: `unassigned` is never set.
 */
#ifndef XMPPD_PRECIS_H
#define XMPPD_PRECIS_H

#include "jid.h"

jid_part precis_prepare_local, precis_prepare_domain, precis_prepare_resource;

#endif
