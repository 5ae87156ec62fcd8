/* x16_int8.h: products of weights in layout x16 with activations of 8 bits, straight from their records (x16.h). For a level that has defined,
 * beside what gemm.h wants,
 *
 *     vu                   the vector of VL words
 *     vq_codes_<type>(u)   nibbles, a byte each, as what is multiplied: 0 to 15 for i4, 0 to 24 for mx
 *     vq_begin_<type>(p)   where the sums of a group begin that has at p what makes up for that (struct kk_i8)
 *     vq_dot(a, u, p)      a plus, in each word, the products of the four bytes of u with the four signed bytes at p
 *     vq_end(a)            a sum that began at 0, in words
 *     vq_end_<type>(a, p)  the sums of a group, in words, on top of KK_I8_ZERO
 *     I8_TOKENS            tokens side by side, as registers allow: 4 or 8
 *     I8_MANY              where x16_many.h is for more of them
 *
 * A lane is a row. A word holds 8 columns as nibbles: masked they are bytes of columns 0 4 1 5, shifted and masked of columns 2 6 3 7, and
 * that is the order of the codes in struct kk_i8. Sums of a group are whole numbers, so that it matters to nobody how they are made; what
 * is rounded is said in kk.def. */

#include "kernels/tmpl/x16.h"

/* The sum of a group that vq_end gave times its scale, exactly; less: that scale times what the sum is on top of. */
#define I8_LESS(scale) ((scale) * vf_set(-0x1.8p23f))
static inline __attribute__((always_inline)) vf i8_scaled(vu sum, vf scale, vf less) { return vf_fma((vf)sum, scale, less); }

/* Group g of the record p, for T tokens, whose groups x stand at. */
#define I8_GROUP(type, T) do { \
	vu a[X16_H][T]; \
	EACH(h, X16_H) EACH(t, T) \
		a[h][t] = vq_begin_##type(&x[t]->bias); \
	EACH(word, 4) { \
		vu w[X16_H]; \
		EACH(h, X16_H) \
			w[h] = x16_load(x16_words(p, g) + 64 * word, h); \
		EACH(half, 2) { \
			vu u[X16_H]; \
			EACH(h, X16_H) \
				u[h] = vq_codes_##type((half ? w[h] >> 4 : w[h]) & 0x0f0f0f0fu); \
			EACH(t, T) EACH(h, X16_H) \
				a[h][t] = vq_dot(a[h][t], u[h], x[t]->code + 8 * word + 4 * half); \
		} \
	} \
	EACH(h, X16_H) { \
		vf scale = x16_scale_##type(p, g, h), less = I8_LESS(scale); \
		EACH(t, T) \
			sum[h][t] = vf_fma(i8_scaled(vq_end_##type(a[h][t], &x[t]->bias), scale, less), vf_set(x[t]->d), sum[h][t]); \
	} \
} while (0)

#define I8_FN(type, T) X16_TILE(i8_##type##_##T, type, struct kk_i8, T, I8_GROUP(type, T))
#define I8_NAME(type, T) [T] = i8_##type##_##T,

#ifdef I8_MANY
#include "kernels/tmpl/x16_many.h"
#define I8_GEMM(type, name) I8_MANY_GEMM(type, name)
#else
#define I8_GEMM(type, name) X16_GEMM(type, name, I8_TOKENS, I8_NAME)
#endif

#define I8_TYPE(type, name) \
X16_PASTE(X16_TOKENS_, I8_TOKENS)(type, I8_FN) \
I8_GEMM(type, name)
I8_TYPE(i4, gemm_i4x16_int8)
I8_TYPE(mx, gemm_mx4x16_int8)
