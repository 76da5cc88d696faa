/* The collector's life: confine itself, then take a snapshot when told to. */
#include "collector/attributes.h"
#include "collector/collector.h"
#include "collector/report.h"
#include "collector/setup.h"
#include "collector/snapshot.h"
#include "common/title.h"

void
collector_main(const struct collector_start *start)
{
	struct protocol_snapshot order;
	struct protocol_taken taken;

	title_set("tcpdiag: collector %s", start->name);
	attributes_choose(start->attributes);
	setup_confine(start);
	snapshot_init(start);
	report_ready();
	for (;;) {
		report_wait_order(&order);
		snapshot_take(&order, &taken);
		report_taken(&taken);
	}
}
