/* Owns what lies between matrix products, in one pass over memory each: norm, rotary embedding, softmax, loss, SwiGLU.
 * Each has a form in torch that it has to equal (bench/packed/kernels.py). */

#include <math.h>
#include <omp.h>
#include <stdint.h>
#include <string.h>

typedef uint16_t half_bits; /* bfloat16: the upper half of a float */

static inline float widened(half_bits bits) {
    const uint32_t whole = (uint32_t)bits << 16;
    float value;
    memcpy(&value, &whole, sizeof value);
    return value;
}

/* To the nearest, ties to even; what is no number stays so. */
static inline half_bits rounded(float value) {
    uint32_t whole;
    memcpy(&whole, &value, sizeof whole);
    const uint32_t near = (whole + 0x7fffu + ((whole >> 16) & 1u)) >> 16;
    return (half_bits)((whole & 0x7fffffffu) > 0x7f800000u ? 0x7fc0u : near);
}

/* e^x to 2e-7 of its value (Cephes' polynomial), in steps that compilers turn into vectors; x below -87 counts as -87. */
static inline float exponential(float x) {
    x = x < -87.0f ? -87.0f : x;
    x = x > 88.0f ? 88.0f : x;
    const float n = rintf(x * 1.44269504088896341f);
    const float r = (x - n * 0.693359375f) - n * -2.12194440e-4f;
    float p = 1.9875691500e-4f;
    p = p * r + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    p = p * r * r + r + 1.0f;
    const int32_t bits = ((int32_t)n + 127) << 23;
    float power;
    memcpy(&power, &bits, sizeof power);
    return p * power;
}

#define REAL float
#define NAME(name) name##_fp32
#define LOAD(value) (value)
#define STORE(value) (value)
#include "kernels.h"
#undef REAL
#undef NAME
#undef LOAD
#undef STORE

#define REAL half_bits
#define NAME(name) name##_bf16
#define LOAD(value) widened(value)
#define STORE(value) rounded(value)
#include "kernels.h"
