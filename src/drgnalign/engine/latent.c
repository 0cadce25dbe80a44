/* The inner loops of a linear latent model, V = V0 + sum z_k U_k: products of all volumes' slices with each other, with
 * the image and with the derivatives of the mean's slice by the pose; and insertion into the normal equations of all
 * volumes at once. latent.py describes the arguments.
 */

/* The most volumes, and what there is besides: derivatives of the mean by the pose, and the image. */
enum { MOST_VOLUMES = 16, BESIDES = POSE + 1 };

/* What of a block of coefficients is multiplied with each other: of each row real parts, after these imaginary ones. */
typedef struct {
    float of[MOST_VOLUMES + BESIDES][2 * BLOCK];
} Rows;

INLINE void put(float *row, int j, vec re, vec im) { store(row + j, re), store(row + BLOCK + j, im); }

/* The slices of one pack's eight volumes at eight coefficients; `c` is the CTF. */
INLINE void slices_of(const float *pack, int edge, const Place *at, vec c, float (*rows)[2 * BLOCK], int j)
{
    const int row = edge + 1, plane = row * (2 * edge + 1);
    const ivec corner = (at->iz + edge) * plane + (at->iy + edge) * row + at->ix;
    for (int n = 0; n < LANES; n++) {
        Complex m = {{0}, {0}};
        for (int i = 0; i < 4; i++) {
            const float *p = pack + PACK * ((int64_t)corner[n] + (i & 1 ? row : 0) + (i & 2 ? plane : 0));
            const float w = (i & 1 ? at->fy[n] : 1.0f - at->fy[n]) * (i & 2 ? at->fz[n] : 1.0f - at->fz[n]);
            const float right = w * at->fx[n], left = w - right;
            m.re += left * load(p) + right * load(p + PACK);
            m.im += left * load(p + LANES) + right * load(p + PACK + LANES);
        }
        const float mirrored = at->mirrored[n] ? -c[n] : c[n];
        for (int v = 0; v < LANES; v++) rows[v][j + n] = c[n] * m.re[v], rows[v][BLOCK + j + n] = mirrored * m.im[v];
    }
}

/* Re<a,b> of all pairs of rows (volumes, derivatives, image) of one image, a symmetric matrix. */
static FAST void gram_of(const float *packs, const Reference *mean, int volumes, const Image *image, const Pose *pose,
                         double *gram)
{
    const Plan *plan = image->plan;
    const int edge = mean->edge, number = volumes + BESIDES;
    const int64_t size = (int64_t)PACK * (2 * edge + 1) * (2 * edge + 1) * (edge + 1);
    const Stretch stretch = stretch_of(pose, reach_of(edge, mean->scale));
    float turn[2], r[9];
    Rows rows;
    turns(plan, pose, turn);
    scale_rotation(mean, pose->rotation, r);
    memset(gram, 0, number * number * sizeof *gram);
    for (int first = 0; first < plan->count; first += BLOCK) {
        const int held = plan->count - first < BLOCK ? plan->count - first : BLOCK;
        for (int j = 0; j < held; j += LANES) {
            const vec x = load(plan->kx + first + j), y = load(plan->ky + first + j);
            vec qx = x, qy = y, c = load(image->ctf + first + j);
            in_volume(&stretch, &qx, &qy, &c);
            const Place at = placed(r, qx, qy);
            /* what fills up the last pack is written over by what follows */
            for (int v = 0; v < volumes; v += LANES)
                slices_of(packs + size * (v / LANES), edge, &at, c, rows.of + v, j);
            vec p_re[POSE], p_im[POSE];
            slice_and_derivatives(mean, r, x, y, qx, qy, c, p_re, p_im);
            for (int p = 0; p < POSE; p++) {
                const float factor = p < 3 ? 1.0f : -2.0f * (float)M_PI / plan->box;
                put(rows.of[volumes + p], j, factor * p_re[p], factor * p_im[p]);
            }
            const Complex d = brought_back(image, first + j, x, y, turn);
            put(rows.of[volumes + POSE], j, d.re, d.im);
        }
        for (int a = 0; a < number; a++)
            for (int b = a; b < number; b++) {
                vec sum = {0};
                for (int j = 0; j < held; j += LANES)
                    sum += load(rows.of[a] + j) * load(rows.of[b] + j)
                        + load(rows.of[a] + BLOCK + j) * load(rows.of[b] + BLOCK + j);
                gram[a * number + b] += total(sum);
            }
    }
    for (int a = 0; a < number; a++)
        for (int b = 0; b < a; b++) gram[a * number + b] = gram[b * number + a];
}

void latent_gram(const Plan *plan, const float *packs, const Reference *mean, int volumes, int images,
                 const float *coefficients, const Pose *poses, double *grams)
{
    const int64_t number = volumes + BESIDES;
    for (int i = 0; i < images; i++) {
        const Image image = image_of(plan, coefficients, i);
        gram_of(packs, mean, volumes, &image, poses + i, grams + i * number * number);
    }
}

/* Add one image to the normal equations. Of each voxel there are `pairs` sums of CTF^2 <z_a z_b>, and `volumes` each of
 * the real and imaginary parts of CTF D z_a; all multiples of eight, filled up with zeros, as `second` and `first` are. */
static FAST void add_to_equations(float *sums, int edge, float scale, int pairs, int volumes, const Image *image,
                                  const Pose *pose, const float *second, const float *first)
{
    const Plan *plan = image->plan;
    const int row = edge + 1, plane = row * (2 * edge + 1), width = pairs + 2 * volumes;
    const Stretch stretch = stretch_of(pose, reach_of(edge, scale));
    float turn[2], r[9];
    turns(plan, pose, turn);
    for (int i = 0; i < 9; i++) r[i] = scale * pose->rotation[i];
    for (int j = 0; j < plan->count; j += LANES) {
        const vec x = load(plan->kx + j), y = load(plan->ky + j);
        vec qx = x, qy = y, c = load(image->ctf + j);
        in_volume(&stretch, &qx, &qy, &c);
        const Place at = placed(r, qx, qy);
        const Complex d = brought_back(image, j, x, y, turn);
        const vec re = c * d.re, im = with_sign_of(at.mirrored, c * d.im), square = c * c;
        const ivec corner = (at.iz + edge) * plane + (at.iy + edge) * row + at.ix;
        for (int n = 0; n < LANES; n++) {
            if (square[n] == 0.0f) continue;
            for (int i = 0; i < 8; i++) {
                const float w = (i & 1 ? at.fx[n] : 1.0f - at.fx[n]) * (i & 2 ? at.fy[n] : 1.0f - at.fy[n])
                    * (i & 4 ? at.fz[n] : 1.0f - at.fz[n]);
                float *p = sums + width * ((int64_t)corner[n] + (i & 1) + (i & 2 ? row : 0) + (i & 4 ? plane : 0));
                for (int k = 0; k < pairs; k += LANES) store(p + k, load(p + k) + w * square[n] * load(second + k));
                for (int k = 0; k < volumes; k += LANES) {
                    float *real = p + pairs + k, *imaginary = real + volumes;
                    store(real, load(real) + w * re[n] * load(first + k));
                    store(imaginary, load(imaginary) + w * im[n] * load(first + k));
                }
            }
        }
    }
}

void latent_insert(const Plan *plan, float *sums, int edge, float scale, int pairs, int volumes, int images,
                   const float *coefficients, const Pose *poses, const float *second, const float *first)
{
    for (int i = 0; i < images; i++) {
        const Image image = image_of(plan, coefficients, i);
        add_to_equations(sums, edge, scale, pairs, volumes, &image, poses + i, second + (int64_t)pairs * i,
                         first + (int64_t)volumes * i);
    }
}
