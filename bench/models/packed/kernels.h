/* The kernels once more for each type of number: REAL as it lies in memory, LOAD and STORE to and from float. */

/* Row by row: out = x * inverse * w, inverse = 1 / sqrt(mean x^2 + eps). */
void NAME(norm_forward)(const float *x, const float *w, REAL *out, float *inverse, int64_t rows, int64_t size,
                        float eps, int threads) {
#pragma omp parallel for num_threads(threads) schedule(static) if (parallel : threads > 1)
    for (int64_t r = 0; r < rows; r++) {
        const float *in = x + r * size;
        REAL *to = out + r * size;
        float sum = 0;
#pragma omp simd reduction(+ : sum)
        for (int64_t i = 0; i < size; i++) sum += in[i] * in[i];
        const float scale = 1.0f / sqrtf(sum / size + eps);
        inverse[r] = scale;
#pragma omp simd
        for (int64_t i = 0; i < size; i++) to[i] = STORE(in[i] * scale * w[i]);
    }
}

/* dx of the same, and dw as one partial sum a thread: [threads, size], zeroed by the caller. */
void NAME(norm_backward)(const float *x, const float *w, const float *inverse, const REAL *grad, float *dx,
                         float *partial, int64_t rows, int64_t size, int threads) {
#pragma omp parallel num_threads(threads) if (parallel : threads > 1)
    {
        float *dw = partial + (int64_t)omp_get_thread_num() * size;
#pragma omp for schedule(static)
        for (int64_t r = 0; r < rows; r++) {
            const float *in = x + r * size;
            const REAL *g = grad + r * size;
            float *to = dx + r * size;
            const float scale = inverse[r];
            float along = 0;
#pragma omp simd reduction(+ : along)
            for (int64_t i = 0; i < size; i++) {
                const float unit = in[i] * scale, own = LOAD(g[i]);
                dw[i] += own * unit;
                along += own * unit * w[i];
            }
            along /= size;
#pragma omp simd
            for (int64_t i = 0; i < size; i++) to[i] = (LOAD(g[i]) * w[i] - in[i] * scale * along) * scale;
        }
    }
}

/* x [tokens, heads, size] rotated by cos, sin [tokens, size]; sign -1 rotates back. */
void NAME(rotate)(const REAL *x, const float *cos, const float *sin, REAL *out, int64_t tokens, int64_t heads,
                  int64_t size, float sign, int threads) {
    const int64_t half = size / 2;
#pragma omp parallel for num_threads(threads) schedule(static) if (parallel : threads > 1)
    for (int64_t t = 0; t < tokens; t++) {
        const float *c = cos + t * size, *s = sin + t * size;
        for (int64_t h = 0; h < heads; h++) {
            const REAL *in = x + (t * heads + h) * size;
            REAL *to = out + (t * heads + h) * size;
            /* Forth, sin stands at the place it is written to; back, at the place it came from. */
            const float *low = sign > 0 ? s : s + half, *high = sign > 0 ? s + half : s;
#pragma omp simd
            for (int64_t i = 0; i < half; i++) {
                const float a = LOAD(in[i]), b = LOAD(in[half + i]);
                to[i] = STORE(a * c[i] - sign * b * low[i]);
                to[half + i] = STORE(b * c[half + i] + sign * a * high[i]);
            }
        }
    }
}

/* In place: the softmax of scores [blocks, heads, wide, length]. Query i of block b sees the keys up to before[b] + i,
 * and of these the last window (0: all); all others get 0. */
void NAME(softmax_tile)(REAL *scores, const int64_t *before, int64_t blocks, int64_t heads, int64_t wide,
                        int64_t length, int64_t window, int threads) {
#pragma omp parallel for num_threads(threads) schedule(static) if (parallel : threads > 1)
    for (int64_t r = 0; r < blocks * heads * wide; r++) {
        REAL *row = scores + r * length;
        int64_t end = before[r / (heads * wide)] + r % wide + 1;
        if (end > length) end = length;
        const int64_t start = window > 0 && end > window ? end - window : 0;
        float top = LOAD(row[start]);
#pragma omp simd reduction(max : top)
        for (int64_t i = start; i < end; i++) top = LOAD(row[i]) > top ? LOAD(row[i]) : top;
        float sum = 0, values[length];
#pragma omp simd reduction(+ : sum)
        for (int64_t i = start; i < end; i++) {
            values[i] = exponential(LOAD(row[i]) - top);
            sum += values[i];
        }
        const float scale = 1.0f / sum;
        for (int64_t i = 0; i < start; i++) row[i] = STORE(0.0f);
#pragma omp simd
        for (int64_t i = start; i < end; i++) row[i] = STORE(values[i] * scale);
        for (int64_t i = end; i < length; i++) row[i] = STORE(0.0f);
    }
}

/* In place: d becomes p * (d - sum p d), row by row. */
void NAME(softmax_backward)(const REAL *p, REAL *d, int64_t rows, int64_t length, int threads) {
#pragma omp parallel for num_threads(threads) schedule(static) if (parallel : threads > 1)
    for (int64_t r = 0; r < rows; r++) {
        const REAL *own = p + r * length;
        REAL *to = d + r * length;
        float along = 0;
#pragma omp simd reduction(+ : along)
        for (int64_t i = 0; i < length; i++) along += LOAD(own[i]) * LOAD(to[i]);
#pragma omp simd
        for (int64_t i = 0; i < length; i++) to[i] = STORE(LOAD(own[i]) * (LOAD(to[i]) - along));
    }
}

/* Log-probs of the labels of logits [rows, words]; tops: their largest; rest: log sum exp(logits - top). The two are
 * kept apart, since their sum would round away what is left of large logits. */
void NAME(head_scores)(const REAL *logits, const int64_t *labels, float *logps, float *tops, float *rest,
                       int64_t rows, int64_t words, int threads) {
#pragma omp parallel for num_threads(threads) schedule(static) if (parallel : threads > 1)
    for (int64_t r = 0; r < rows; r++) {
        const REAL *row = logits + r * words;
        float top = LOAD(row[0]);
#pragma omp simd reduction(max : top)
        for (int64_t i = 0; i < words; i++) top = LOAD(row[i]) > top ? LOAD(row[i]) : top;
        float sum = 0;
#pragma omp simd reduction(+ : sum)
        for (int64_t i = 0; i < words; i++) sum += exponential(LOAD(row[i]) - top);
        tops[r] = top;
        rest[r] = logf(sum);
        logps[r] = LOAD(row[labels[r]]) - top - rest[r];
    }
}

/* In place: logits become the derivative of the loss by them, own[r] that by the row's log-prob. */
void NAME(head_slopes)(REAL *logits, const int64_t *labels, const float *tops, const float *rest, const float *own,
                       int64_t rows, int64_t words, int threads) {
#pragma omp parallel for num_threads(threads) schedule(static) if (parallel : threads > 1)
    for (int64_t r = 0; r < rows; r++) {
        REAL *row = logits + r * words;
        const float top = tops[r], log_sum = rest[r], slope = own[r];
        const float at_label = slope - slope * exponential(LOAD(row[labels[r]]) - top - log_sum);
#pragma omp simd
        for (int64_t i = 0; i < words; i++) row[i] = STORE(-slope * exponential(LOAD(row[i]) - top - log_sum));
        row[labels[r]] = STORE(at_label);
    }
}

/* silu(gate) * up. */
void NAME(swiglu_forward)(const REAL *gate, const REAL *up, REAL *out, int64_t count, int threads) {
#pragma omp parallel for simd num_threads(threads) schedule(static) if (parallel : threads > 1)
    for (int64_t i = 0; i < count; i++) {
        const float g = LOAD(gate[i]);
        out[i] = STORE(g / (1.0f + exponential(-g)) * LOAD(up[i]));
    }
}

void NAME(swiglu_backward)(const REAL *gate, const REAL *up, const REAL *grad, REAL *d_gate, REAL *d_up,
                           int64_t count, int threads) {
#pragma omp parallel for simd num_threads(threads) schedule(static) if (parallel : threads > 1)
    for (int64_t i = 0; i < count; i++) {
        const float g = LOAD(gate[i]), d = LOAD(grad[i]);
        const float share = 1.0f / (1.0f + exponential(-g));
        d_up[i] = STORE(d * g * share);
        d_gate[i] = STORE(d * LOAD(up[i]) * share * (1.0f + g * (1.0f - share)));
    }
}
