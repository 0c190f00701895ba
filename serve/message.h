/* What a person is told when something is wrong, always in three parts on stderr. */
#ifndef SERVE_MESSAGE_H
#define SERVE_MESSAGE_H

/* What happened, with which value (a printf format); what was expected; what to do now. */
__attribute__((format(printf, 3, 4))) void message_error(const char *expected, const char *remedy, const char *what,
                                                         ...);

/* One sentence that is worth knowing but needs no action. */
__attribute__((format(printf, 1, 2))) void message_note(const char *what, ...);

#endif
