/* tcpdiag-shipper: see shipper.h. */
#include "shipper/shipper.h"

int
main(int argc, char **argv)
{
	return shipper_main(argc, argv);
}
