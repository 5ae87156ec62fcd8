/* defects.cu: kernels with one mistake each, which the simulator must find (defects.def says how); the first has none. What they are meant to do:
 * y[i] = x of the block's elements in reverse order. */
#include "kernels/cuda/cuda_dev.h"
#include "kernels/cudasim/test/defects.h"

enum { N = DEFECT_THREADS };

#define ME (int)threadIdx.x
#define AT (blockIdx.x * N + threadIdx.x)

K_KERNEL(right)
{
	K_SHARED(float, s, N);
	s[ME] = a.x[AT];
	__syncthreads();
	a.y[AT] = s[N - 1 - ME];
}

K_KERNEL(read_behind) { a.y[AT] = a.x[AT + 1]; }
K_KERNEL(read_before) { a.y[AT] = a.x[(int64_t)AT - 1]; }

K_KERNEL(write_behind)
{
	for (int64_t i = AT; i <= a.n; i += 2 * N)
		a.y[i] = a.x[AT];
}

K_KERNEL(shared_overrun)
{
	K_SHARED(float, s, N);
	s[ME] = a.x[AT];
	__syncthreads();
	a.y[AT] = s[N - ME];
}

K_KERNEL(no_barrier)
{
	K_SHARED(float, s, N);
	s[ME] = 0;
	__syncthreads();
	s[ME] = a.x[AT];
	a.y[AT] = s[N - 1 - ME];
}

K_KERNEL(no_barrier_behind)
{
	K_SHARED(float, s, N);
	for (int i = 0; i < 2; i++) {
		s[ME] = a.x[AT];
		__syncthreads();
		a.y[AT] = s[N - 1 - ME];
	}
}

/* A warp hands over to itself, and goes on to write what it has read. */
K_KERNEL(warp_to_itself)
{
	K_SHARED(float, s, N);
	for (int i = 0; i < 2; i++) {
		if (i)
			K_WARP_IN_STEP();
		s[ME] = a.x[AT];
		K_WARP_IN_STEP();
		a.y[AT] = s[ME ^ 31] + s[ME / K_WARP * K_WARP];
	}
}

K_KERNEL(warp_to_other)
{
	K_SHARED(float, s, N);
	s[ME] = 0;
	__syncthreads();
	s[ME] = a.x[AT];
	K_WARP_IN_STEP();
	a.y[AT] = s[N - 1 - ME];
}

K_KERNEL(warp_still_reads)
{
	K_SHARED(float, s, N);
	for (int i = 0; i < 2; i++) {
		s[ME] = a.x[AT];
		K_WARP_IN_STEP();
		a.y[AT] = s[ME / K_WARP * K_WARP];
	}
}

K_KERNEL(nobody_wrote)
{
	K_SHARED(float, s, N);
	if (ME < N - 1)
		s[ME] = a.x[AT];
	__syncthreads();
	a.y[AT] = s[N - 1 - ME];
}

K_KERNEL(same_element)
{
	if (ME == 0)
		a.y[0] = a.x[AT];
}

K_KERNEL(reads_neighbour)
{
	a.y[AT] = a.x[AT];
	if (AT == N)
		a.y[AT] = a.y[0];
}

K_KERNEL(misaligned) { a.y[AT] = *(const float *)((const uint8_t *)a.x + 2 * AT); }

K_KERNEL(local_array)
{
	float v[8];
	for (int i = 0; i < 8; i++)
		v[i] = a.x[AT];
	a.y[AT] = v[ME == 40 ? a.n / 16 : a.n / 64];
}

K_KERNEL(some_wait)
{
	K_SHARED(float, s, N);
	s[ME] = a.x[AT];
	if (ME < N / 2)
		__syncthreads();
	a.y[AT] = s[ME];
}

K_KERNEL(two_barriers)
{
	if (ME < N / 2)
		__syncthreads();
	else
		__syncthreads();
	a.y[AT] = a.x[AT];
}

K_KERNEL(half_warp)
{
	float v = a.x[AT];
	if (k_lane() < K_WARP / 2)
		v += __shfl_xor_sync(0xffffu, v, 1);
	a.y[AT] = v;
}

K_KERNEL(host_memory) { a.y[AT] = a.host[ME]; }

K_KERNEL(too_much_shared)
{
	K_SHARED(float, s, 12289);
	s[ME] = a.x[AT];
	a.y[AT] = s[ME];
}

/* x through stages of shared memory, of which one is copied while another is read. */
enum { RUNS = N / 4, STAGES = 2 };

K_DEV void stage_copy(float *s, const float *x, int i)
{
	if (i < STAGES && ME < RUNS)
		k_copy16(s + i * N + 4 * ME, x + 4 * ((ME + 4 * i) % RUNS), true);
	k_copy_commit();
}

K_KERNEL(copies)
{
	K_SHARED(float, s, STAGES * N);
	const float *x = a.x + blockIdx.x * N;
	float y = 0;
	stage_copy(s, x, 0);
	for (int i = 0; i < STAGES; i++) {
		stage_copy(s, x, i + 1);
		k_copy_wait(1);
		__syncthreads();
		y += s[i * N + N - 1 - ME];
		__syncthreads();
	}
	a.y[AT] = y;
}

K_KERNEL(stage_not_waited)
{
	K_SHARED(float, s, N);
	stage_copy(s, a.x, 0);
	__syncthreads();
	a.y[AT] = s[ME];
	k_copy_wait(0);
}

K_KERNEL(stage_one_late)
{
	K_SHARED(float, s, STAGES * N);
	for (int i = 0; i < STAGES; i++)
		stage_copy(s, a.x, i);
	k_copy_wait(1);
	__syncthreads();
	a.y[AT] = s[N + ME];
	k_copy_wait(0);
}

K_KERNEL(stage_no_barrier)
{
	K_SHARED(float, s, N);
	stage_copy(s, a.x, 0);
	k_copy_wait(0);
	a.y[AT] = s[N - 1 - ME];
}

/* The next copy into a stage that others still read. */
K_KERNEL(stage_reused)
{
	K_SHARED(float, s, N);
	for (int i = 0; i < STAGES; i++) {
		stage_copy(s, a.x, 0);
		k_copy_wait(0);
		__syncthreads();
		a.y[AT] = s[N - 1 - ME];
	}
}

K_KERNEL(stage_uncommitted)
{
	K_SHARED(float, s, N);
	if (ME < RUNS)
		k_copy16(s + 4 * ME, a.x + 4 * ME, true);
	k_copy_wait(0);
	a.y[AT] = 0;
}

K_KERNEL(copy_to_device)
{
	if (ME < RUNS)
		k_copy16(a.y + blockIdx.x * N + 4 * ME, a.x, true);
	k_copy_commit();
	k_copy_wait(0);
}

/* x was written two launches ago, y by the one before. */
K_KERNEL_EARLY(wait_late, 1)
{
	float x = a.x[AT];
	K_WAIT_BEFORE();
	a.y[AT] += x;
}

K_KERNEL_EARLY(wait_never, 1)
{
	float y = a.y[AT];
	K_WAIT_BEFORE();
	a.y[AT] = y + a.x[AT];
}

K_KERNEL_EARLY(wait_to_write, 1)
{
	a.y[AT] = a.n;
	K_WAIT_BEFORE();
}

/* x was read by the launch before, y written. */
K_KERNEL_EARLY(ahead_of_reader, 1)
{
	if (blockIdx.x == 0)
		K_WAIT_BEFORE();
	else
		K_GO_AHEAD();
	*(float *)(uintptr_t)(a.x + AT) = 0;
}

K_KERNEL_EARLY(ahead_of_writer, 1)
{
	if (blockIdx.x == 0)
		K_WAIT_BEFORE();
	else
		K_GO_AHEAD();
	a.y[AT] = 0;
}

K_KERNEL_EARLY(ahead_all, 1)
{
	K_SHARED(float, s, N);
	K_GO_AHEAD();
	s[ME] = a.x[AT];
}
