/* What this program was built from. */
#ifndef COMMON_VERSION_H
#define COMMON_VERSION_H

#define VERSION	"0.1.0"

/* "0.1.0 (b485503b2f1c)": the version and the commit. */
extern const char version_text[];
extern const char version_commit[];

#endif
