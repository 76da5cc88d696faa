/* The sockets that are measured are made by the holder of the system tests. */
#include "tests/system/holder.c"
