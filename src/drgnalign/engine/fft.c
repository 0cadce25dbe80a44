/* The Fourier transform of a real image of N x N pixels, N even, at least 16, and without prime factors but 2, 3, 5.
 * Part of kernels.c; fft.py makes the tables.
 *
 * Sixteen columns are transformed at a time, in each of eight lanes two real ones a and b as a + i b; then eight rows
 * ky < N/2 at a time. F(kx, ky) with kx <= N/2 is a part of the result as it is, the others as those of row -ky, their
 * mates: F(-kx, -ky) = conj F(kx, ky). Before they are transformed, rows 0 and N/2 are real, and share a lane. Where
 * the last columns or rows are too few, they begin earlier, and some are done twice.
 */
enum { PAIR = 2 * LANES, MOST = 5 };

typedef struct {
    int32_t size, passes;   /* N, which is transformed in so many passes */
    const int32_t *radices; /* of the passes; their product is N */
    const int32_t *places;  /* where the first pass wants number n */
    const float *roots;     /* e^{-2 pi i n/N}: re, im */
    float *columns, *rows;  /* work memory: N pairs of vectors (re, im); N pairs for each eight rows */
    float *out;             /* the transform: (N, N/2+1) complex, origin in the corner */
} Fft;

INLINE Complex load_pair(const float *p) { return (Complex){load(p), load(p + LANES)}; }
INLINE void store_pair(float *p, Complex v) { store(p, v.re), store(p + LANES, v.im); }
INLINE void store_quad(float *p, quad v) { memcpy(p, &v, sizeof v); }
INLINE Complex plus(Complex a, Complex b) { return (Complex){a.re + b.re, a.im + b.im}; }
INLINE Complex minus(Complex a, Complex b) { return (Complex){a.re - b.re, a.im - b.im}; }
INLINE Complex plus_i(Complex a, Complex b) { return (Complex){a.re - b.im, a.im + b.re}; }  /* a + i b */
INLINE Complex minus_i(Complex a, Complex b) { return (Complex){a.re + b.im, a.im - b.re}; } /* a - i b */
INLINE Complex mixed(float s, Complex a, float t, Complex b)
{
    return (Complex){s * a.re + t * b.re, s * a.im + t * b.im};
}

/* Transform 2, 3, 4 or 5 numbers. */
INLINE void butterfly(int radix, Complex *v)
{
    const Complex a = v[0], b = v[1], c = v[2], d = v[3], e = v[4];
    if (radix == 2) {
        v[0] = plus(a, b), v[1] = minus(a, b);
    } else if (radix == 3) {
        const Complex sum = plus(b, c), rest = mixed(1.0f, a, -0.5f, sum);
        const Complex cross = mixed(0.866025404f, b, -0.866025404f, c);
        v[0] = plus(a, sum), v[1] = minus_i(rest, cross), v[2] = plus_i(rest, cross);
    } else if (radix == 4) {
        const Complex even = plus(a, c), odd = plus(b, d), rest = minus(a, c), cross = minus(b, d);
        v[0] = plus(even, odd), v[1] = minus_i(rest, cross), v[2] = minus(even, odd), v[3] = plus_i(rest, cross);
    } else { /* cos and sin of 72 and 144 degrees */
        const float c1 = 0.309016994f, c2 = -0.809016994f, s1 = 0.951056516f, s2 = 0.587785252f;
        const Complex p = plus(b, e), q = plus(c, d), m = minus(b, e), n = minus(c, d);
        const Complex rest1 = plus(a, mixed(c1, p, c2, q)), cross1 = mixed(s1, m, s2, n);
        const Complex rest2 = plus(a, mixed(c2, p, c1, q)), cross2 = mixed(s2, m, -s1, n);
        v[0] = plus(a, plus(p, q)), v[1] = minus_i(rest1, cross1), v[4] = plus_i(rest1, cross1);
        v[2] = minus_i(rest2, cross2), v[3] = plus_i(rest2, cross2);
    }
}

/* One pass, in place: every `radix` neighbouring transforms X_q of `length` numbers become one of L = radix length,
 * X(j + k length) = sum_q e^{-2 pi i qk/radix} e^{-2 pi i qj/L} X_q(j). */
INLINE void pass(const Fft *fft, int radix, int length, float *x)
{
    const int64_t whole = radix * length, step = fft->size / whole, apart = PAIR * length;
    const float *roots = fft->roots, *end = x + PAIR * fft->size;
    for (int64_t j = 0; j < length; j++)
        for (float *p = x + PAIR * j; p < end; p += PAIR * whole) {
            Complex v[MOST] = {0};
            for (int64_t q = 0; q < radix; q++) {
                const float re = roots[2 * q * j * step], im = roots[2 * q * j * step + 1];
                v[q] = load_pair(p + q * apart);
                if (q > 0 && length > 1) v[q] = (Complex){re * v[q].re - im * v[q].im, im * v[q].re + re * v[q].im};
            }
            butterfly(radix, v);
            for (int64_t q = 0; q < radix; q++) store_pair(p + q * apart, v[q]);
        }
}

/* Eight transforms of N numbers, which stand at their places. */
INLINE void transform_eight(const Fft *fft, float *x)
{
    for (int i = 0, length = 1; i < fft->passes; length *= fft->radices[i++]) {
        if (fft->radices[i] == 2) pass(fft, 2, length, x);
        else if (fft->radices[i] == 3) pass(fft, 3, length, x);
        else if (fft->radices[i] == 4) pass(fft, 4, length, x);
        else pass(fft, 5, length, x);
    }
}

/* Of Z = A + i B, where A and B are transforms of real numbers: A(k) = (Z(k) + conj Z(-k))/2 and B alike. */
INLINE void separated(Complex z, Complex opposite, Complex *a, Complex *b)
{
    *a = (Complex){0.5f * (z.re + opposite.re), 0.5f * (z.im - opposite.im)};
    *b = (Complex){0.5f * (z.im + opposite.im), 0.5f * (opposite.re - z.re)};
}

/* Columns c to c + 7 as real parts, the next eight as imaginary ones; then they are made rows, four at a time. */
INLINE void transform_columns(const Fft *fft, const float *image, int64_t c)
{
    const int64_t size = fft->size, half = size / 2;
    const int32_t *places = fft->places;
    float *x = fft->columns, *rows = fft->rows;
    for (int64_t y = 0; y < size; y++) store_pair(x + PAIR * places[y], load_pair(image + y * size + c));
    transform_eight(fft, x);
    for (int64_t first = 0; first < half; first += LANES, rows += PAIR * size)
        for (int part = 0; part < LANES; part += 4) {
            const int64_t start = (first + LANES < half ? first : half - LANES) + part;
            Complex a[4], b[4];
            quad re[PAIR], im[PAIR];
            for (int64_t i = 0, k = start; i < 4; i++, k++)
                separated(load_pair(x + PAIR * k), load_pair(x + PAIR * (k > 0 ? size - k : 0)), a + i, b + i);
            if (start == 0) a[0].im = load(x + PAIR * half), b[0].im = load(x + PAIR * half + LANES); /* row N/2 */
            quads(a[0].re, a[1].re, a[2].re, a[3].re, re), quads(a[0].im, a[1].im, a[2].im, a[3].im, im);
            quads(b[0].re, b[1].re, b[2].re, b[3].re, re + 8), quads(b[0].im, b[1].im, b[2].im, b[3].im, im + 8);
            for (int l = 0; l < PAIR; l++) {
                float *to = rows + PAIR * places[c + l] + part;
                store_quad(to, re[l]), store_quad(to + LANES, im[l]);
            }
        }
}

/* Rows `start` to start + 7, kx and kx + 1 at a time. The mate of row 0 is put where row N/2 belongs. */
INLINE void transform_rows(const Fft *fft, int64_t start, float *x)
{
    const int64_t size = fft->size, half = size / 2, width = size + 2;
    transform_eight(fft, x);
    for (int64_t kx = 0; kx <= half; kx += 2) {
        const int64_t k = kx < half ? kx : half - 1;
        const Complex a = load_pair(x + PAIR * k), b = load_pair(x + PAIR * (k + 1));
        const Complex c = load_pair(x + PAIR * (k > 0 ? size - k : 0)), d = load_pair(x + PAIR * (size - k - 1));
        quad direct[LANES], mates[LANES];
        quads(a.re, a.im, b.re, b.im, direct), quads(c.re, -c.im, d.re, -d.im, mates);
        for (int64_t l = 0, ky = start; l < LANES; l++, ky++) {
            store_quad(fft->out + ky * width + 2 * k, direct[l]);
            store_quad(fft->out + (ky > 0 ? size - ky : half) * width + 2 * k, mates[l]);
        }
    }
}

static FAST void transform_image(const Fft *fft, const float *image)
{
    const int64_t size = fft->size, half = size / 2, width = size + 2;
    float *first = fft->out, *middle = first + half * width, *rows = fft->rows;
    for (int64_t c = 0; c < size; c += PAIR) transform_columns(fft, image, c + PAIR < size ? c : size - PAIR);
    for (int64_t ky = 0; ky < half; ky += LANES, rows += PAIR * size)
        transform_rows(fft, ky + LANES < half ? ky : half - LANES, rows);
    for (int64_t k = 0; k < width; k += 2) { /* rows 0 and N/2 as in `separated`; the mate is conjugate already */
        const float re = first[k], im = first[k + 1], mate_re = middle[k], mate_im = middle[k + 1];
        first[k] = 0.5f * (re + mate_re), first[k + 1] = 0.5f * (im + mate_im);
        middle[k] = 0.5f * (im - mate_im), middle[k + 1] = 0.5f * (mate_re - re);
    }
}
