/* The tests of test_check.c, for what processors without SSE2 are given. */
#undef __SSE2__
#define check_record	check_record_plain
#include "shipper/check.c"
#include "tests/unit/test_check.c"
