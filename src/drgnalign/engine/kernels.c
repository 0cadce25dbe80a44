/* The inner loops of the native engine: CTF, interpolation with the normal equations, the search for a pose, insertion.
 *
 * Coefficients come eight at a time. All arrays over coefficients are padded with zeros to a multiple of eight; a
 * coefficient with no weight adds nothing. kernels.py says what each function is given and gives back.
 */
#include <math.h>
#include <stdint.h>
#include <string.h>

enum { LANES = 8, POSE = 5, GRID = 5 };
/* Where the sums of `normal_equations` begin: products of derivatives (upper triangle, row by row), derivative.model,
 * derivative.data; then model.model and data.model; and how many there are. kernels.py has the same names. */
enum { CURVATURE = 0, WITH_MODEL = 15, WITH_DATA = 20, POWER = 25, MATCH = 26, SUMS = 27 };
/* A reference with an edge K beyond this is not in the fast caches: memory is asked for so many coefficients ahead. */
enum { FAR = 40, AHEAD = 64 };
/* Coefficients that are worked on together where something has to be kept of each; floats of a voxel. */
enum { BLOCK = 64, VOXEL = 4 };
typedef float vec __attribute__((vector_size(4 * LANES)));
typedef int32_t ivec __attribute__((vector_size(4 * LANES)));
typedef float quad __attribute__((vector_size(16)));
typedef int32_t places __attribute__((vector_size(16)));
typedef int64_t pair __attribute__((vector_size(16)));
#define INLINE static inline __attribute__((always_inline))
/* One binary for all processors of a kind; what is chosen when it is loaded is the same on all that have AVX2. */
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__)
#define FAST __attribute__((target_clones("arch=x86-64-v3", "default")))
#else
#define FAST
#endif

typedef struct {
    const float *transform; /* (2K+1, 2K+1, K+1) complex: [z + K, y + K, x] */
    int32_t edge;           /* K */
    float scale;            /* padded box / box */
} Reference;

typedef struct {
    int32_t box, count;            /* image size, number of coefficients */
    const float *kx, *ky;          /* Fourier pixels, stage by stage */
    const int32_t *flat;           /* where they are in a transform */
    int32_t stages;                /* of resolution */
    const int32_t *counts, *steps; /* of each stage: leading coefficients, most steps */
    const double *largest_shift;   /* of each stage: px a step */
    int32_t scan_count;            /* coefficients of the coarse grid */
    double scan_spacing;           /* px */
} Plan;

/* Whitened coefficients F/sigma (re, im) and CTF/sigma of one image. */
typedef struct {
    const Plan *plan;
    const float *re, *im, *ctf;
} Image;

/* Where a particle is, and how its image is magnified: an image shows at k what the volume has at R M k. */
typedef struct {
    double rotation[9], shift[2], magnification[4];
} Pose;

/* Of a search: 1/variance of each component of a change of pose (rotation vector in radians, shift in px); amplitude^2
 * below which a match is so weak that it hints at a wrong local optimum; and what kernels.py says of the others. */
typedef struct {
    double precision[2], weak, first_damping, success, failure, small_gain, largest_rotation, scan_rotation;
} Settings;

/* Where a pose is expected: around the one given. */
typedef struct {
    Pose start;
    const Settings *settings;
} Prior;

INLINE vec load(const float *p) { vec v; memcpy(&v, p, sizeof v); return v; }
INLINE void store(float *p, vec v) { memcpy(p, &v, sizeof v); }
INLINE quad load_quad(const float *p) { quad v; memcpy(&v, p, sizeof v); return v; }
INLINE vec to_float(ivec v) { return __builtin_convertvector(v, vec); }
INLINE ivec truncated(vec v) { return __builtin_convertvector(v, ivec); }
INLINE ivec floored(vec v) { ivec t = truncated(v); return t + (to_float(t) > v); }
INLINE vec chosen(ivec which, vec v, vec other) { return (vec)(((ivec)v & which) | ((ivec)other & ~which)); }
INLINE vec at_least(float least, vec v) { return chosen(v < least, (vec){0} + least, v); }
INLINE vec with_sign_of(ivec sign, vec v) { return (vec)((ivec)v ^ (sign & INT32_MIN)); }

/* sin and cos of 2 pi t for any t: Taylor polynomials on an eighth of a turn, good to 1e-7. */
INLINE void sin_cos_turns(vec t, vec *sine, vec *cosine)
{
    vec four = 4.0f * t;
    ivec quarter = floored(four + 0.5f);
    vec a = (four - to_float(quarter)) * 1.57079632679f, a2 = a * a;
    vec s = a + a * a2 * (-1.6666666641e-1f + a2 * (8.3333293e-3f + a2 * -1.9839335e-4f + a2 * a2 * 2.7183114e-6f));
    vec c = 1.0f + a2 * (-0.5f + a2 * (4.16666642e-2f + a2 * (-1.388888731e-3f + a2 * 2.4433157e-5f)));
    ivec swap = -(quarter & 1);
    vec first = (vec)(((ivec)c & swap) | ((ivec)s & ~swap)), second = (vec)(((ivec)s & swap) | ((ivec)c & ~swap));
    *sine = with_sign_of(quarter << 30, first);
    *cosine = with_sign_of((quarter + 1) << 30, second);
}

/* (x0 re, x0 im, x1 re, x1 im) of eight coefficients into four vectors. */
INLINE void transpose(const quad *q, vec *out)
{
#define PAIR(i) __builtin_shufflevector(q[i], q[i + 4], 0, 1, 2, 3, 4, 5, 6, 7)
    vec t0 = PAIR(0), t1 = PAIR(1), t2 = PAIR(2), t3 = PAIR(3);
#undef PAIR
    vec low01 = __builtin_shufflevector(t0, t1, 0, 8, 1, 9, 4, 12, 5, 13);
    vec high01 = __builtin_shufflevector(t0, t1, 2, 10, 3, 11, 6, 14, 7, 15);
    vec low23 = __builtin_shufflevector(t2, t3, 0, 8, 1, 9, 4, 12, 5, 13);
    vec high23 = __builtin_shufflevector(t2, t3, 2, 10, 3, 11, 6, 14, 7, 15);
    out[0] = __builtin_shufflevector(low01, low23, 0, 1, 8, 9, 4, 5, 12, 13);
    out[1] = __builtin_shufflevector(low01, low23, 2, 3, 10, 11, 6, 7, 14, 15);
    out[2] = __builtin_shufflevector(high01, high23, 0, 1, 8, 9, 4, 5, 12, 13);
    out[3] = __builtin_shufflevector(high01, high23, 2, 3, 10, 11, 6, 7, 14, 15);
}

/* The other way round: four vectors into (a, b, c, d) of eight coefficients. */
INLINE void quads(vec a, vec b, vec c, vec d, quad *out)
{
    const vec ab0 = __builtin_shufflevector(a, b, 0, 8, 1, 9, 4, 12, 5, 13);
    const vec ab2 = __builtin_shufflevector(a, b, 2, 10, 3, 11, 6, 14, 7, 15);
    const vec cd0 = __builtin_shufflevector(c, d, 0, 8, 1, 9, 4, 12, 5, 13);
    const vec cd2 = __builtin_shufflevector(c, d, 2, 10, 3, 11, 6, 14, 7, 15);
    const vec pairs[4] = {
        __builtin_shufflevector(ab0, cd0, 0, 1, 8, 9, 4, 5, 12, 13),
        __builtin_shufflevector(ab0, cd0, 2, 3, 10, 11, 6, 7, 14, 15),
        __builtin_shufflevector(ab2, cd2, 0, 1, 8, 9, 4, 5, 12, 13),
        __builtin_shufflevector(ab2, cd2, 2, 3, 10, 11, 6, 7, 14, 15),
    };
    for (int i = 0; i < 4; i++) {
        out[i] = __builtin_shufflevector(pairs[i], pairs[i], 0, 1, 2, 3);
        out[4 + i] = __builtin_shufflevector(pairs[i], pairs[i], 4, 5, 6, 7);
    }
}

typedef struct {
    vec re, im;
} Complex;

INLINE Complex times(Complex a, Complex b)
{
    return (Complex){a.re * b.re - a.im * b.im, a.re * b.im + a.im * b.re};
}

#include "fft.c"

/* e^t, t within what single precision holds; 1 for 0. */
INLINE vec exponential(vec t)
{
    const vec power = -at_least(-126.0f, -at_least(-126.0f, t * 1.44269504089f));
    const ivec whole = floored(power + 0.5f);
    const vec a = (power - to_float(whole)) * 0.69314718056f;
    const vec part = 1.0f + a * (1.0f + a * (0.5f + a * (1.6666667e-1f + a * (4.1666667e-2f + a * 8.3333333e-3f))));
    return part * (vec)((whole + 127) << 23);
}

/* e^{2 pi i t} */
INLINE Complex turned(vec t)
{
    Complex out;
    sin_cos_turns(t, &out.im, &out.re);
    return out;
}

/* Where R k lies in a volume: the Fourier pixel below it, and how far behind that it is. Only x >= 0 is kept, so that
 * some are mirrored: V(-k) = conj V(k). */
typedef struct {
    ivec mirrored, ix, iy, iz;
    vec fx, fy, fz;
} Place;

/* r is the scaled rotation. */
INLINE Place placed(const float *r, vec x, vec y)
{
    vec vx = r[0] * x + r[1] * y, vy = r[3] * x + r[4] * y, vz = r[6] * x + r[7] * y;
    Place p = {.mirrored = vx < 0.0f};
    vx = with_sign_of(p.mirrored, vx), vy = with_sign_of(p.mirrored, vy), vz = with_sign_of(p.mirrored, vz);
    p.ix = truncated(vx), p.iy = floored(vy), p.iz = floored(vz);
    p.fx = vx - to_float(p.ix), p.fy = vy - to_float(p.iy), p.fz = vz - to_float(p.iz);
    return p;
}

/* How an image is magnified, and how far the volume reaches that it is of, in Fourier pixels of an image. */
typedef struct {
    float m[4], reach;
    int none;
} Stretch;

INLINE Stretch stretch_of(const Pose *pose, float reach)
{
    const double *m = pose->magnification;
    return (Stretch){{m[0], m[1], m[2], m[3]}, reach, m[0] == 1.0 && m[1] == 0.0 && m[2] == 0.0 && m[3] == 1.0};
}

/* M k */
INLINE void magnified(const float *m, vec *x, vec *y)
{
    const vec a = m[0] * *x + m[1] * *y, b = m[2] * *x + m[3] * *y;
    *x = a, *y = b;
}

/* M k within the volume; beyond, nothing is known: 0, and a CTF of 0. Without magnification k is within it anyway. */
INLINE void in_volume(const Stretch *stretch, vec *x, vec *y, vec *c)
{
    if (stretch->none) return;
    magnified(stretch->m, x, y);
    const ivec inside = *x * *x + *y * *y <= stretch->reach * stretch->reach * 1.000001f;
    *x = (vec)((ivec)*x & inside), *y = (vec)((ivec)*y & inside), *c = (vec)((ivec)*c & inside);
}

/* How far a reference with this edge reaches, in Fourier pixels of an image. */
INLINE float reach_of(int edge, float scale) { return (edge - 1) / scale; }

/* Shift in box lengths of a particle from the corner, where transforms have their origin; the box's centre is N/2. */
INLINE void turns(const Plan *plan, const Pose *pose, float *turn)
{
    for (int i = 0; i < 2; i++) turn[i] = (pose->shift[i] + plan->box / 2) / plan->box;
}

/* Data brought back to the origin: F/sigma e^{2 pi i k.s/N} */
INLINE Complex brought_back(const Image *image, int j, vec x, vec y, const float *turn)
{
    return times((Complex){load(image->re + j), load(image->im + j)}, turned(turn[0] * x + turn[1] * y));
}

/* V(R k) and its gradient, trilinear. */
INLINE Complex interpolated(const Reference *reference, const float *r, vec x, vec y, Complex *gradient)
{
    const int edge = reference->edge, row = 2 * (edge + 1), plane = row * (2 * edge + 1);
    const Place at = placed(r, x, y);
    const vec fx = at.fx, fy = at.fy, fz = at.fz;
    const ivec mirrored = at.mirrored, corner = (at.iz + edge) * plane + (at.iy + edge) * row + 2 * at.ix;
    quad values[LANES], slopes_y[LANES], slopes_z[LANES];
    for (int l = 0; l < LANES; l++) {
        const float *p = reference->transform + corner[l];
        const quad v00 = load_quad(p), v01 = load_quad(p + row);
        const quad v10 = load_quad(p + plane), v11 = load_quad(p + plane + row);
        const quad y0 = v01 - v00, y1 = v11 - v10, w0 = v00 + fy[l] * y0, w1 = v10 + fy[l] * y1;
        slopes_z[l] = w1 - w0;
        slopes_y[l] = y0 + fz[l] * (y1 - y0);
        values[l] = w0 + fz[l] * slopes_z[l];
    }
    vec v[4], sy[4], sz[4];
    transpose(values, v), transpose(slopes_y, sy), transpose(slopes_z, sz);
    gradient[0] = (Complex){with_sign_of(mirrored, v[2] - v[0]), v[3] - v[1]};
    gradient[1] = (Complex){with_sign_of(mirrored, sy[0] + fx * (sy[2] - sy[0])), sy[1] + fx * (sy[3] - sy[1])};
    gradient[2] = (Complex){with_sign_of(mirrored, sz[0] + fx * (sz[2] - sz[0])), sz[1] + fx * (sz[3] - sz[1])};
    return (Complex){v[0] + fx * (v[2] - v[0]), with_sign_of(mirrored, v[1] + fx * (v[3] - v[1]))};
}

INLINE void scale_rotation(const Reference *reference, const double *rotation, float *r)
{
    for (int i = 0; i < 9; i++) r[i] = reference->scale * (float)rotation[i];
}

INLINE double total(vec v)
{
    double sum = 0.0;
    for (int l = 0; l < LANES; l++) sum += v[l];
    return sum;
}

/* Ask early for the memory that `interpolated` will want for some coefficients. */
INLINE void prefetch(const Reference *reference, const Plan *plan, const float *r, const Stretch *stretch, int first,
                     int end)
{
    const int edge = reference->edge, row = 2 * (edge + 1), plane = row * (2 * edge + 1);
    for (int j = first; j < end; j += LANES) {
        vec x = load(plan->kx + j), y = load(plan->ky + j);
        magnified(stretch->m, &x, &y);
        const Place at = placed(r, x, y);
        const ivec corner = (at.iz + edge) * plane + (at.iy + edge) * row + 2 * at.ix;
        for (int l = 0; l < LANES; l++) {
            const float *p = reference->transform + corner[l];
            __builtin_prefetch(p), __builtin_prefetch(p + row);
            __builtin_prefetch(p + plane), __builtin_prefetch(p + plane + row);
        }
    }
}

/* The model m = c V(R q), q = M k, and its derivatives by the pose. With g = R^T grad V these are q_y g2, -q_x g2,
 * q_x g1 - q_y g0 for R <- R exp(w), and -2 pi i k/N m for the shift, here without the factor -2 pi/N. */
INLINE Complex slice_and_derivatives(const Reference *reference, const float *r, vec x, vec y, vec qx, vec qy, vec c,
                                     vec *p_re, vec *p_im)
{
    Complex gradient[3], g[3];
    const Complex value = interpolated(reference, r, qx, qy, gradient);
    const Complex m = {c * value.re, c * value.im};
    for (int i = 0; i < 3; i++) {
        g[i].re = c * (r[i] * gradient[0].re + r[3 + i] * gradient[1].re + r[6 + i] * gradient[2].re);
        g[i].im = c * (r[i] * gradient[0].im + r[3 + i] * gradient[1].im + r[6 + i] * gradient[2].im);
    }
    p_re[0] = qy * g[2].re, p_re[1] = -qx * g[2].re, p_re[2] = qx * g[1].re - qy * g[0].re;
    p_im[0] = qy * g[2].im, p_im[1] = -qx * g[2].im, p_im[2] = qx * g[1].im - qy * g[0].im;
    p_re[3] = -x * m.im, p_re[4] = -y * m.im;
    p_im[3] = x * m.re, p_im[4] = y * m.re;
    return m;
}

/* Products of model, data and pose derivatives over the first `count` coefficients; data d = F/sigma e^{2 pi i k.s/N}.
 * Real parts.
 */
static FAST void normal_equations(const Reference *reference, const Image *image, int count, const Pose *pose,
                                  double *sums)
{
    const int far = reference->edge > FAR;
    const Stretch stretch = stretch_of(pose, reach_of(reference->edge, reference->scale));
    float turn[2], r[9];
    vec part[SUMS];
    turns(image->plan, pose, turn);
    scale_rotation(reference, pose->rotation, r);
    memset(sums, 0, SUMS * sizeof *sums);
    memset(part, 0, sizeof part);
    for (int j = 0; j < count; j += LANES) {
        if (far && j % AHEAD == 0) {
            const int end = j + 2 * AHEAD < count ? j + 2 * AHEAD : count;
            prefetch(reference, image->plan, r, &stretch, j == 0 ? 0 : j + AHEAD, end);
        }
        const vec x = load(image->plan->kx + j), y = load(image->plan->ky + j);
        vec qx = x, qy = y, c = load(image->ctf + j);
        in_volume(&stretch, &qx, &qy, &c);
        vec p_re[POSE], p_im[POSE];
        const Complex m = slice_and_derivatives(reference, r, x, y, qx, qy, c, p_re, p_im);
        const Complex d = brought_back(image, j, x, y, turn);
        int n = CURVATURE;
        for (int a = 0; a < POSE; a++)
            for (int b = a; b < POSE; b++) part[n++] += p_re[a] * p_re[b] + p_im[a] * p_im[b];
        for (int a = 0; a < POSE; a++) {
            part[WITH_MODEL + a] += p_re[a] * m.re + p_im[a] * m.im;
            part[WITH_DATA + a] += p_re[a] * d.re + p_im[a] * d.im;
        }
        part[POWER] += m.re * m.re + m.im * m.im;
        part[MATCH] += d.re * m.re + d.im * m.im;
        if (j % 1024 == 1024 - LANES || j + LANES >= count) {
            for (int i = 0; i < SUMS; i++) sums[i] += total(part[i]);
            memset(part, 0, sizeof part);
        }
    }
    const double to_shift = -2.0 * M_PI / image->plan->box;
    static const int powers[POWER] = {0, 0, 0, 1, 1, 0, 0, 1, 1, 0, 1, 1, 2, 2, 2, 0, 0, 0, 1, 1, 0, 0, 0, 1, 1};
    for (int i = 0; i < POWER; i++)
        for (int k = 0; k < powers[i]; k++) sums[i] *= to_shift;
}

/* <d,m>^2/<m,m>, negative where the match is: the log-likelihood gained over 'no signal', in nats. */
INLINE double score(const double *sums)
{
    return sums[POWER] > 0.0 ? sums[MATCH] * fabs(sums[MATCH]) / sums[POWER] : 0.0;
}

/* How far a pose has moved: the rotation vector, as the sine of its angle, and the shift. */
static void change_of(const Prior *prior, const Pose *pose, double *change)
{
    const double *a = prior->start.rotation, *b = pose->rotation;
    double turn[9];
    for (int i = 0; i < 9; i++) turn[i] = a[i / 3] * b[i % 3] + a[3 + i / 3] * b[3 + i % 3] + a[6 + i / 3] * b[6 + i % 3];
    change[0] = 0.5 * (turn[7] - turn[5]), change[1] = 0.5 * (turn[2] - turn[6]), change[2] = 0.5 * (turn[3] - turn[1]);
    change[3] = pose->shift[0] - prior->start.shift[0], change[4] = pose->shift[1] - prior->start.shift[1];
}

/* Minus the logarithm of the prior of a change of pose, in nats. */
static double penalty(const Prior *prior, const double *change)
{
    double sum = 0.0;
    for (int p = 0; p < POSE; p++) sum += 0.5 * prior->settings->precision[p >= 3] * change[p] * change[p];
    return sum;
}

/* Solve (H + damping diag H) step = -gradient of |d - a m|^2 + penalty, the amplitude a = <d,m>/<m,m> eliminated:
 * H = a^2 (A - b b^T/<m,m>) and the prior's half precision. Gives the gain that the step promises, or -1 where H is
 * singular. */
static double damped_step(const double *sums, const Prior *prior, const double *change, double damping, double *step)
{
    const double mm = sums[POWER], amplitude = sums[MATCH] / mm;
    const double *with_model = sums + WITH_MODEL, *with_data = sums + WITH_DATA;
    double l[POSE][POSE], gradient[POSE], hessian[POSE][POSE];
    int n = CURVATURE;
    for (int p = 0; p < POSE; p++) {
        const double half = 0.5 * prior->settings->precision[p >= 3];
        gradient[p] = amplitude * (with_data[p] - amplitude * with_model[p]) - half * change[p];
        for (int q = p; q < POSE; q++)
            hessian[q][p] = hessian[p][q] = amplitude * amplitude * (sums[n++] - with_model[p] * with_model[q] / mm);
        hessian[p][p] += half;
    }
    for (int p = 0; p < POSE; p++) { /* Cholesky */
        for (int q = 0; q <= p; q++) {
            double rest = hessian[p][q] * (p == q ? 1.0 + damping : 1.0);
            for (int k = 0; k < q; k++) rest -= l[p][k] * l[q][k];
            if (p == q && !(rest > 0.0)) return -1.0;
            l[p][q] = p == q ? sqrt(rest) : rest / l[q][q];
        }
        step[p] = gradient[p];
        for (int k = 0; k < p; k++) step[p] -= l[p][k] * step[k];
        step[p] /= l[p][p];
    }
    for (int p = POSE - 1; p >= 0; p--) {
        for (int k = p + 1; k < POSE; k++) step[p] -= l[k][p] * step[k];
        step[p] /= l[p][p];
    }
    double gain = 0.0;
    for (int p = 0; p < POSE; p++) {
        double curved = 0.0;
        for (int q = 0; q < POSE; q++) curved += hessian[p][q] * step[q];
        gain += step[p] * (2.0 * gradient[p] - curved);
    }
    return gain;
}

/* R exp(w), Rodrigues: turn by the rotation vector w (radians) about the image's axes. */
static void rotated(const double *rotation, double x, double y, double z, double *result)
{
    const double angle = sqrt(x * x + y * y + z * z);
    const double a = angle > 1e-12 ? sin(angle) / angle : 1.0;
    const double b = angle > 1e-6 ? (1.0 - cos(angle)) / (angle * angle) : 0.5;
    const double turn[9] = {
        1.0 - b * (y * y + z * z), b * x * y - a * z, b * x * z + a * y,
        b * x * y + a * z, 1.0 - b * (x * x + z * z), b * y * z - a * x,
        b * x * z - a * y, b * y * z + a * x, 1.0 - b * (x * x + y * y),
    };
    for (int i = 0; i < 9; i++) {
        const double *row = rotation + i / 3 * 3, *column = turn + i % 3;
        result[i] = row[0] * column[0] + row[1] * column[3] + row[2] * column[6];
    }
}

/* Eight references side by side: of voxel (z, y, x) of the volume that each is in, eight real and eight imaginary parts.
 * One look at memory serves all eight. */
enum { PACK = 2 * LANES };

/* Re<d,m> of one image at one pose and the references of one pack, and after these <m,m>: of the first `bulk`
 * coefficients, and after these of the others. */
static FAST void matches_of(const float *pack, int edge, float scale, const Image *image, const Pose *pose, int bulk,
                            double *found)
{
    const int row = edge + 1, plane = row * (2 * edge + 1);
    const Stretch stretch = stretch_of(pose, reach_of(edge, scale));
    float turn[2], r[9];
    turns(image->plan, pose, turn);
    for (int i = 0; i < 9; i++) r[i] = scale * pose->rotation[i];
    for (int l = 0; l < 2 * PACK; l++) found[l] = 0.0;
    for (int j = 0; j < image->plan->count; j += LANES) {
        const int ahead = j + PACK < image->plan->count ? j + PACK : j;
        vec ahead_x = load(image->plan->kx + ahead), ahead_y = load(image->plan->ky + ahead);
        magnified(stretch.m, &ahead_x, &ahead_y);
        const Place later = placed(r, ahead_x, ahead_y);
        const ivec wanted = (later.iz + edge) * plane + (later.iy + edge) * row + later.ix;
        for (int n = 0; n < LANES; n++)
            for (int i = 0; i < 4; i++) {
                const float *p = pack + PACK * ((int64_t)wanted[n] + (i & 1 ? row : 0) + (i & 2 ? plane : 0));
                __builtin_prefetch(p), __builtin_prefetch(p + PACK);
            }
        const vec x = load(image->plan->kx + j), y = load(image->plan->ky + j);
        vec qx = x, qy = y, c = load(image->ctf + j);
        in_volume(&stretch, &qx, &qy, &c);
        const Place at = placed(r, qx, qy);
        const Complex d = brought_back(image, j, x, y, turn);
        const vec d_re = c * d.re, d_im = with_sign_of(at.mirrored, c * d.im), square = c * c;
        const ivec corner = (at.iz + edge) * plane + (at.iy + edge) * row + at.ix;
        vec product = {0}, power = {0};
        for (int n = 0; n < LANES; n++) {
            Complex m = {{0}, {0}};
            for (int i = 0; i < 4; i++) {
                const float *p = pack + PACK * ((int64_t)corner[n] + (i & 1 ? row : 0) + (i & 2 ? plane : 0));
                const float w = (i & 1 ? at.fy[n] : 1.0f - at.fy[n]) * (i & 2 ? at.fz[n] : 1.0f - at.fz[n]);
                const float right = w * at.fx[n], left = w - right;
                m.re += left * load(p) + right * load(p + PACK);
                m.im += left * load(p + LANES) + right * load(p + PACK + LANES);
            }
            product += d_re[n] * m.re + d_im[n] * m.im;
            power += square[n] * (m.re * m.re + m.im * m.im);
        }
        double *part = j < bulk ? found : found + PACK;
        for (int l = 0; l < LANES; l++) part[l] += product[l], part[LANES + l] += power[l];
    }
}

/* Improve a pose at one resolution by Levenberg-Marquardt; gives what is reached, score less penalty. `sums` are those
 * at the pose, and in the end those of the last pose that was looked at: a step that promises little is taken without
 * a look. */
static double climb(const Reference *reference, const Image *image, int count, int steps, double largest_shift,
                    const Prior *prior, Pose *pose, double *sums)
{
    const Settings *settings = prior->settings;
    double step[POSE], change[POSE], trial_sums[SUMS], trial_change[POSE], damping = settings->first_damping;
    Pose trial = *pose;
    change_of(prior, pose, change);
    double reached = score(sums) - penalty(prior, change);
    for (int i = 0; i <= steps; i++) {
        double promised = sums[POWER] > 0.0 ? damped_step(sums, prior, change, damping, step) : -1.0;
        if (!(promised >= 0.0)) break;
        const double turn = sqrt(step[0] * step[0] + step[1] * step[1] + step[2] * step[2]);
        const double move = sqrt(step[3] * step[3] + step[4] * step[4]);
        const double shorter = fmax(1.0, fmax(turn / settings->largest_rotation, move / largest_shift));
        for (int p = 0; p < POSE; p++) step[p] /= shorter;
        rotated(pose->rotation, step[0], step[1], step[2], trial.rotation);
        trial.shift[0] = pose->shift[0] + step[3], trial.shift[1] = pose->shift[1] + step[4];
        if (promised < settings->small_gain) {
            *pose = trial;
            return reached + promised;
        }
        if (i == steps) break;
        normal_equations(reference, image, count, &trial, trial_sums);
        change_of(prior, &trial, trial_change);
        const double gain = score(trial_sums) - penalty(prior, trial_change) - reached;
        if (gain <= 0.0) {
            damping *= settings->failure;
            continue;
        }
        reached += gain, damping *= settings->success;
        *pose = trial;
        memcpy(sums, trial_sums, sizeof trial_sums), memcpy(change, trial_change, sizeof change);
    }
    return reached;
}

/* From coarse to fine through all stages, which steps over the local maxima of wrong shifts; what is reached at the
 * limit, and the sums there. */
static double coarse_to_fine(const Reference *reference, const Image *image, const Prior *prior, Pose *pose,
                             double *sums)
{
    const Plan *plan = image->plan;
    double reached = 0.0;
    for (int s = 0; s < plan->stages; s++) {
        normal_equations(reference, image, plan->counts[s], pose, sums);
        reached = climb(reference, image, plan->counts[s], plan->steps[s], plan->largest_shift[s], prior, pose, sums);
    }
    return reached;
}

/* <d,m> of one rotation at a grid of shifts around a pose's; and <m,m>, which is the same at all. */
static FAST void shift_products(const Reference *reference, const Image *image, const Pose *pose, double *products,
                                double *mm)
{
    const Plan *plan = image->plan;
    const Stretch stretch = stretch_of(pose, reach_of(reference->edge, reference->scale));
    const float spacing = plan->scan_spacing / plan->box;
    float turn[2], r[9];
    vec part[GRID * GRID], power = {0};
    memset(part, 0, sizeof part);
    turns(plan, pose, turn);
    scale_rotation(reference, pose->rotation, r);
    for (int j = 0; j < plan->scan_count; j += LANES) {
        const vec x = load(plan->kx + j), y = load(plan->ky + j);
        vec qx = x, qy = y, c = load(image->ctf + j);
        in_volume(&stretch, &qx, &qy, &c);
        Complex gradient[3], along_y[GRID];
        const Complex value = interpolated(reference, r, qx, qy, gradient);
        const Complex m = {c * value.re, c * value.im}, mirror = {m.re, -m.im};
        power += m.re * m.re + m.im * m.im;
        const Complex d = brought_back(image, j, x, y, turn);
        const Complex product = times(d, mirror);
        for (int i = 0; i < GRID; i++) along_y[i] = turned((i - GRID / 2) * spacing * y);
        for (int i = 0; i < GRID; i++) {
            const Complex moved = times(product, turned((i - GRID / 2) * spacing * x));
            for (int k = 0; k < GRID; k++) part[GRID * i + k] += moved.re * along_y[k].re - moved.im * along_y[k].im;
        }
    }
    *mm = total(power);
    for (int i = 0; i < GRID * GRID; i++) products[i] = total(part[i]);
}

/* Move a pose to the best of 7 rotations (none, and both ways about each axis) x 5x5 shifts. */
static void scan(const Reference *reference, const Image *image, double rotation, Pose *pose)
{
    const Pose start = *pose;
    double most = -INFINITY;
    for (int turn = 0; turn < 7; turn++) {
        double w[3] = {0.0, 0.0, 0.0}, products[GRID * GRID], mm;
        if (turn > 0) w[(turn - 1) / 2] = turn % 2 ? rotation : -rotation;
        Pose trial = start;
        rotated(start.rotation, w[0], w[1], w[2], trial.rotation);
        shift_products(reference, image, &trial, products, &mm);
        for (int i = 0; i < GRID * GRID; i++) {
            const double reached = mm > 0.0 ? products[i] * fabs(products[i]) / mm : 0.0;
            if (reached <= most) continue;
            most = reached, *pose = trial;
            pose->shift[0] += (i / GRID - GRID / 2) * image->plan->scan_spacing;
            pose->shift[1] += (i % GRID - GRID / 2) * image->plan->scan_spacing;
        }
    }
}

/* The best places (rotation of a list, shift of the grid around a pose's) of one image, best first; the last of them may
 * be no place at all where there are fewer than are kept. */
static void search_one(const Reference *reference, const Image *image, int turns_number, const double *rotations,
                       int kept, const Pose *start, Pose *found, double *reached)
{
    const double spacing = image->plan->scan_spacing;
    for (int k = 0; k < kept; k++) found[k] = *start, reached[k] = -INFINITY;
    for (int turn = 0; turn < turns_number; turn++) {
        double products[GRID * GRID], mm;
        Pose trial = *start;
        memcpy(trial.rotation, rotations + 9 * turn, sizeof trial.rotation);
        shift_products(reference, image, &trial, products, &mm);
        int best = 0;
        for (int i = 1; i < GRID * GRID; i++) if (products[i] > products[best]) best = i;
        const double score = mm > 0.0 ? products[best] * fabs(products[best]) / mm : 0.0;
        if (score <= reached[kept - 1]) continue;
        trial.shift[0] += (best / GRID - GRID / 2) * spacing;
        trial.shift[1] += (best % GRID - GRID / 2) * spacing;
        int place = kept - 1;
        for (; place > 0 && reached[place - 1] < score; place--)
            found[place] = found[place - 1], reached[place] = reached[place - 1];
        found[place] = trial, reached[place] = score;
    }
}

/* Refine one pose; it stays as it was where nothing better is found. A weak match is tried once more from the best of a
 * coarse grid. */
static void refine_pose(const Reference *reference, const Image *image, const Settings *settings, Pose *pose,
                        double *before, double *after)
{
    const Plan *plan = image->plan;
    const Prior prior = {*pose, settings};
    double sums[SUMS], change[POSE];
    normal_equations(reference, image, plan->counts[plan->stages - 1], pose, sums);
    double best = *before = score(sums);
    for (int way = 0; way < 2; way++) {
        if (way == 1 && best >= settings->weak * sums[POWER]) break;
        Pose trial = prior.start;
        if (way == 1) scan(reference, image, settings->scan_rotation, &trial);
        const double reached = coarse_to_fine(reference, image, &prior, &trial, sums);
        if (reached > best) *pose = trial, best = reached;
    }
    change_of(&prior, pose, change);
    *after = best + penalty(&prior, change);
}

/* What an optics group does to its images besides, at each coefficient; see CtfTerms in ctf.py. */
typedef struct {
    const float *even, *odd; /* turns; real and imaginary parts of what takes odd aberrations off; NULL: none */
    const double *magnification;
    int32_t stored; /* 0: as taken, 1: flipped, 2: multiplied by the CTF */
} Lens;

/* The CTF is sin 2 pi (phase[0] D q^2 + phase[1] q^4 + phase[2] + even) with q = M k in Fourier pixels, phases in turns
 * and D = defocus[0] + defocus[1] cos 2(angle - astigmatism); defocus[2], [3]: cos and sin of twice that angle; times
 * envelope[0] e^{-envelope[1] q^2}. Images that were flipped or multiplied by it become what they were before, but that
 * they are divided by no less than `least` in the sine.
 */
static FAST void prepare_one(const Plan *plan, const float *transform, const float *weight, const double *defocus,
                             const double *phase, const double *envelope, const Lens *lens, float least, float *out)
{
    const float mean = phase[0] * defocus[0], fourth = phase[1], offset = phase[2];
    const float along = phase[0] * defocus[1] * defocus[2], across = 2.0 * phase[0] * defocus[1] * defocus[3];
    const float scale = envelope[0], decay = -envelope[1];
    float m[4];
    for (int i = 0; i < 4; i++) m[i] = lens->magnification[i];
    for (int j = 0; j < plan->count; j += LANES) {
        vec x = load(plan->kx + j), y = load(plan->ky + j), w = load(weight + j), fall = (vec){0} + scale;
        magnified(m, &x, &y);
        const vec s2 = x * x + y * y;
        vec sine, cosine;
        vec turn = (mean + fourth * s2) * s2 + along * (x * x - y * y) + across * x * y + offset;
        if (lens->even) turn += load(lens->even + j);
        sin_cos_turns(turn, &sine, &cosine);
        if (decay != 0.0f) fall *= exponential(decay * s2);
        Complex f;
        if (plan->flat[j + LANES - 1] - plan->flat[j] == LANES - 1) { /* within a row */
            const float *at = transform + 2 * (int64_t)plan->flat[j];
            const vec low = load(at), high = load(at + LANES);
            f.re = __builtin_shufflevector(low, high, 0, 2, 4, 6, 8, 10, 12, 14);
            f.im = __builtin_shufflevector(low, high, 1, 3, 5, 7, 9, 11, 13, 15);
        } else {
            for (int l = 0; l < LANES; l++) {
                const float *one = transform + 2 * (int64_t)plan->flat[j + l];
                f.re[l] = one[0], f.im[l] = one[1];
            }
        }
        store(out + 2 * plan->count + j, sine * fall * w);
        if (lens->stored == 2) {
            const vec size = with_sign_of((ivec)sine, sine);
            w /= fall * at_least(least, size);
        }
        if (lens->stored != 0) w = with_sign_of((ivec)sine, w);
        if (lens->odd) f = times(f, (Complex){load(lens->odd + j), load(lens->odd + plan->count + j)});
        store(out + j, f.re * w), store(out + plan->count + j, f.im * w);
    }
}

/* What a block of coefficients adds to a reconstruction, and where: to four pairs of neighbours in x. */
typedef struct {
    places place[BLOCK];
    float weight[4][BLOCK], x[BLOCK];
    quad amount[BLOCK];
} Spread;

/* Spread coefficients over the eight Fourier pixels around R M k, trilinear. */
INLINE void spread(const int32_t *starts, int edge, float scale, float reach, const Image *image, const Pose *pose,
                   int first, int end, Spread *out)
{
    const Stretch stretch = stretch_of(pose, reach);
    const int side = 2 * edge + 1;
    float turn[2], r[9];
    turns(image->plan, pose, turn);
    for (int i = 0; i < 9; i++) r[i] = scale * pose->rotation[i];
    for (int j = first; j < end; j += LANES) {
        const int n = j - first;
        const vec x = load(image->plan->kx + j), y = load(image->plan->ky + j);
        vec qx = x, qy = y, c = load(image->ctf + j);
        in_volume(&stretch, &qx, &qy, &c);
        const Place at = placed(r, qx, qy);
        const Complex d = brought_back(image, j, x, y, turn);
        const vec fy = at.fy, fz = at.fz, low = 1.0f - fz;
        const ivec row = (at.iz + edge) * side + at.iy + edge;
        for (int l = 0; l < LANES; l++) {
            pair rows; /* each with the one at y + 1 */
            memcpy(&rows[0], starts + row[l], 8), memcpy(&rows[1], starts + row[l] + side, 8);
            out->place[n + l] = (places)rows + at.ix[l];
        }
        store(out->weight[0] + n, low * (1.0f - fy)), store(out->weight[1] + n, low * fy);
        store(out->weight[2] + n, fz * (1.0f - fy)), store(out->weight[3] + n, fz * fy);
        store(out->x + n, at.fx);
        quads(c * d.re, with_sign_of(at.mirrored, c * d.im), c * c, (vec){0}, out->amount + n);
    }
}

/* Add one image to a reconstruction: CTF F/sigma^2 (re, im) and CTF^2/sigma^2 of each coefficient.
 * Voxel (z, y, x), x >= 0, stands at starts[z + K, y + K] + x: four numbers, the last of which fills up.
 * While a block is added, memory is asked for what the next one needs. Neighbours of an image share voxels: a block is
 * taken in steps of eight, so that no sum is loaded that was stored just before and is still under way. */
static FAST void insert_one(float *sums, const int32_t *starts, int edge, float scale, float reach, const Image *image,
                            const Pose *pose)
{
    const int count = image->plan->count, far = edge > FAR;
    Spread blocks[2];
    int coming = count < BLOCK ? count : BLOCK;
    spread(starts, edge, scale, reach, image, pose, 0, coming, blocks);
    for (int first = 0, k = 0; first < count; first += BLOCK, k = !k) {
        const Spread *block = blocks + k, *next = blocks + !k;
        const int held = coming, rest = count - first - held;
        coming = rest < BLOCK ? rest : BLOCK;
        spread(starts, edge, scale, reach, image, pose, first + held, first + held + coming, blocks + !k);
        for (int m = 0; m < BLOCK; m++) {
            const int n = m % (BLOCK / LANES) * LANES + m / (BLOCK / LANES);
            for (int i = 0; far && n < coming && i < 4; i++) {
                const float *voxels = sums + VOXEL * (int64_t)next->place[n][i];
                __builtin_prefetch(voxels, 1), __builtin_prefetch(voxels + 2 * VOXEL - 1, 1);
            }
            if (n >= held) continue;
            const quad right = block->x[n] * block->amount[n], left = block->amount[n] - right;
            const vec both = __builtin_shufflevector(left, right, 0, 1, 2, 3, 4, 5, 6, 7);
            for (int i = 0; i < 4; i++) {
                float *voxels = sums + VOXEL * (int64_t)block->place[n][i];
                store(voxels, load(voxels) + block->weight[i][n] * both);
            }
        }
    }
}

INLINE Image image_of(const Plan *plan, const float *coefficients, int number)
{
    const float *re = coefficients + 3 * (int64_t)number * plan->count;
    return (Image){plan, re, re + plan->count, re + 2 * plan->count};
}

/* What follows is called from kernels.py, which describes the arguments. */

/* One image after the other, so that its transform is used before it leaves the cache. */
void prepare(const Plan *plan, const Fft *fft, int images, const float *data, const float *weights,
             const int32_t *groups, const double *defocus, const double *phases, const double *envelopes,
             const int32_t *kinds, const int32_t *aberrated, const float *even, const float *odd,
             const double *magnifications, const int32_t *stored, float least, float *coefficients)
{
    const int64_t size = plan->box, numbers = fft ? size * size : 2 * size * (size / 2 + 1), count = plan->count;
    for (int i = 0; i < images; i++) {
        const float *one = data + i * numbers;
        const int32_t kind = kinds[i];
        Lens lens = {NULL, NULL, magnifications + 4 * kind, stored[kind]};
        if (aberrated[kind]) lens.even = even + kind * count, lens.odd = odd + 2 * kind * count;
        if (fft) transform_image(fft, one);
        prepare_one(plan, fft ? fft->out : one, weights + groups[i] * count, defocus + 4 * i, phases + 3 * i,
                    envelopes + 2 * i, &lens, least, coefficients + 3 * i * count);
    }
}

void refine(const Plan *plan, const Reference *reference, int images, const float *coefficients,
            const Settings *settings, Pose *poses, double *scores)
{
    for (int i = 0; i < images; i++) {
        const Image image = image_of(plan, coefficients, i);
        refine_pose(reference, &image, settings, poses + i, scores + 2 * i, scores + 2 * i + 1);
    }
}

void products(const Plan *plan, const Reference *reference, int count, int images, const float *coefficients,
              const Pose *poses, double *sums)
{
    for (int i = 0; i < images; i++) {
        const Image image = image_of(plan, coefficients, i);
        normal_equations(reference, &image, count, poses + i, sums + SUMS * i);
    }
}

void matches(const Plan *plan, const float *packs, int number, int edge, float scale, int bulk, int images,
             const float *coefficients, const Pose *poses, double *result)
{
    const int64_t size = (int64_t)PACK * (2 * edge + 1) * (2 * edge + 1) * (edge + 1);
    for (int i = 0; i < images; i++) {
        const Image image = image_of(plan, coefficients, i);
        for (int k = 0; k < number; k++)
            matches_of(packs + size * k, edge, scale, &image, poses + i, bulk,
                       result + 2 * PACK * ((int64_t)number * i + k));
    }
}

void insert(const Plan *plan, float *sums, const int32_t *starts, int edge, float scale, float reach, int images,
            const float *coefficients, const Pose *poses)
{
    for (int i = 0; i < images; i++) {
        const Image image = image_of(plan, coefficients, i);
        insert_one(sums, starts, edge, scale, reach, &image, poses + i);
    }
}

void search(const Plan *plan, const Reference *reference, int images, const float *coefficients, int turns_number,
            const double *rotations, int kept, const Pose *starts, Pose *found, double *reached)
{
    for (int i = 0; i < images; i++) {
        const Image image = image_of(plan, coefficients, i);
        search_one(reference, &image, turns_number, rotations, kept, starts + i, found + (int64_t)kept * i,
                   reached + (int64_t)kept * i);
    }
}

#include "latent.c"
