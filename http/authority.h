/* host [":" port], the authority of an http URI and the value of Host: RFC 9110 7.2, RFC 3986 3.2.
 *
 * Stricter than the grammar in what could only do harm: the host may not be empty (RFC 9110 4.2.1), user information is
 * refused (4.2.4), and so is IPvFuture, of which no version exists. */
#ifndef HTTP_AUTHORITY_H
#define HTTP_AUTHORITY_H

enum http_port { HTTP_PORT_OPTIONAL, HTTP_PORT_REQUIRED };

/* Returns where the authority at `at` ends, at `end` or earlier; NULL: there is none. It is for the caller to see that
 * what follows may follow; so `end` can be any place up to which bytes may be read. */
const char *http_authority_skip(const char *at, const char *end, enum http_port port);

#endif
