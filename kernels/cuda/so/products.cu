/* products.cu: the only includer of cuBLAS. Opened by name, of the major version that this was compiled with; its functions by their names.
 *
 * One order of sums for a shape: no atomics, a workspace of our own, no sums in less than f32. */
#include <cublas_v2.h>
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include "kernels/cuda/so/products.h"

enum { WORKSPACE = 32 << 20 };

/* Its name alone stands for two functions. */
typedef cublasStatus_t gemm_fn(cublasHandle_t, cublasOperation_t, cublasOperation_t, int, int, int, const void *, const void *, cudaDataType, int,
	const void *, cudaDataType, int, const void *, void *, cudaDataType, int, cublasComputeType_t, cublasGemmAlgo_t);

#define FUNCTIONS(X) \
	X(cublasCreate_v2) X(cublasDestroy_v2) X(cublasGetVersion_v2) X(cublasSetStream_v2) X(cublasSetWorkspace_v2) X(cublasSetAtomicsMode) \
	X(cublasSetMathMode) X(cublasGetStatusString)

struct products {
	void *lib, *workspace;
	cublasHandle_t handle;
#define X(name) decltype(&name) p_##name;
	FUNCTIONS(X)
#undef X
	gemm_fn *gemm;
};

static bool find(struct products *p, struct cuda_why *what)
{
	char name[32];
	const char *missing = NULL;
	snprintf(name, sizeof(name), "libcublas.so.%d", CUBLAS_VER_MAJOR);
	p->lib = dlopen(name, RTLD_NOW | RTLD_LOCAL);
	if (!p->lib) {
		snprintf(what->msg, sizeof(what->msg), "%.300s", dlerror());
		return false;
	}
#define X(f) \
	if (!(p->p_##f = (decltype(&f))dlsym(p->lib, #f))) \
		missing = #f;
	FUNCTIONS(X)
#undef X
	if (!(p->gemm = (gemm_fn *)dlsym(p->lib, "cublasGemmEx")))
		missing = "cublasGemmEx";
	if (missing)
		snprintf(what->msg, sizeof(what->msg), "%s has no %s", name, missing);
	return !missing;
}

static cublasStatus_t set_up(struct products *p, cudaStream_t stream)
{
	cublasStatus_t e = p->p_cublasCreate_v2(&p->handle);
	if (e == CUBLAS_STATUS_SUCCESS)
		e = p->p_cublasSetStream_v2(p->handle, stream);
	/* After the stream: setting that takes the workspace away. */
	if (e == CUBLAS_STATUS_SUCCESS)
		e = p->p_cublasSetWorkspace_v2(p->handle, p->workspace, WORKSPACE);
	if (e == CUBLAS_STATUS_SUCCESS)
		e = p->p_cublasSetAtomicsMode(p->handle, CUBLAS_ATOMICS_NOT_ALLOWED);
	if (e == CUBLAS_STATUS_SUCCESS)
		e = p->p_cublasSetMathMode(p->handle, (cublasMath_t)(CUBLAS_DEFAULT_MATH | CUBLAS_MATH_DISALLOW_REDUCED_PRECISION_REDUCTION));
	return e;
}

void products_close(struct products *p)
{
	if (p->handle)
		p->p_cublasDestroy_v2(p->handle);
	cudaFree(p->workspace);
	free(p);
}

struct products *products_open(cudaStream_t stream, struct cuda_why *what)
{
	struct products *p = (struct products *)calloc(1, sizeof(*p));
	cublasStatus_t e;
	int version = 0;
	if (!p) {
		snprintf(what->msg, sizeof(what->msg), "no memory");
		return NULL;
	}
	if (!find(p, what)) {
		products_close(p);
		return NULL;
	}
	if (cudaMalloc(&p->workspace, WORKSPACE) != cudaSuccess) {
		snprintf(what->msg, sizeof(what->msg), "no device memory for its workspace: %s", cudaGetErrorString(cudaGetLastError()));
		products_close(p);
		return NULL;
	}
	e = set_up(p, stream);
	if (e != CUBLAS_STATUS_SUCCESS) {
		snprintf(what->msg, sizeof(what->msg), "cuBLAS does not start: %s", p->p_cublasGetStatusString(e));
		products_close(p);
		return NULL;
	}
	p->p_cublasGetVersion_v2(p->handle, &version);
	snprintf(what->msg, sizeof(what->msg), "cuBLAS %d.%d.%d", version / 10000, version / 100 % 100, version % 100);
	return p;
}

/* cuBLAS counts by columns: y^T [rows x n] = w [rows x cols] x^T [cols x n], and what we have is w^T and x^T in its eyes. */
const char *products_multiply(struct products *p, const struct cuda_product *op)
{
	const float one = 1, zero = 0;
	cudaDataType_t type = op->bf16 ? CUDA_R_16BF : CUDA_R_32F;
	cublasComputeType_t how = op->bf16 ? CUBLAS_COMPUTE_32F : CUBLAS_COMPUTE_32F_PEDANTIC;
	cublasStatus_t e = p->gemm(p->handle, CUBLAS_OP_T, CUBLAS_OP_N, (int)op->rows, (int)op->n, (int)op->cols, &one, op->w, type,
		(int)op->cols, op->x, type, (int)op->x_step, &zero, op->y, CUDA_R_32F, (int)op->y_step, how, CUBLAS_GEMM_DEFAULT);
	return e == CUBLAS_STATUS_SUCCESS ? NULL : p->p_cublasGetStatusString(e);
}
