/* What this program was built from; alone in its file, so that a commit rebuilds only this. */
#include "common/version.h"

#include "commit.h"

const char version_text[] = VERSION " (" TCPDIAG_COMMIT ")";
const char version_commit[] = TCPDIAG_COMMIT;
