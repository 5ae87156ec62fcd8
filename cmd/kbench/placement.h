/* placement.h: where the threads of a measurement lie. Two CPUs may share a core, a chiplet or nothing, a host moves them as it likes, and both the read
 * bandwidth and the peak of two threads follow. A cache line that goes to and fro between two CPUs tells. */
#ifndef K_PLACEMENT_H
#define K_PLACEMENT_H

#include "evals/report.h"

enum { K_PLACEMENTS = 4 };
struct k_placement {
	int64_t kept[K_PLACEMENTS];         /* samples by state */
	int64_t dropped;                /* whose state changed meanwhile */
	double ns;                      /* the last round trip; 0: there is one CPU, or it could not be timed */
	int state;                      /* of k_placement_begin */
};
/* Around a timed block; end says whether the sample counts. */
void k_placement_begin(struct k_placement *p);
bool k_placement_end(struct k_placement *p);
/* "same chiplet"; "mixed" where samples of several states were kept; "unknown" where the CPUs were too busy to tell; of now, where there was no
 * sample. */
const char *k_placement_label(struct k_placement *p);

#endif
