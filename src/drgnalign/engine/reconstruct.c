/* From the sums of a reconstruction to a map's transform; reconstruct.py says what each function is given and fills.
 *
 * Rows x >= 0 of the half volume lie one behind the other: voxel (z, y, x) is starts[z + K, y + K] + x, x < lengths[z +
 * K, y + K]. What was inserted at the Hermitian mates V(0, y, z) and conj V(0, -y, -z) is added up.
 */
#include <math.h>
#include <stdint.h>

/* Floats of a voxel: real and imaginary part of the numerator, and the denominator. */
enum { VOXEL = 4, WEIGHT = 2 };

static int64_t row_of(int edge, int z, int y)
{
    return (int64_t)(z + edge) * (2 * edge + 1) + y + edge;
}

static float radius_of(int z, int y, int x)
{
    return sqrtf((float)z * z + (float)y * y + (float)x * x);
}

static float weight_of(const float *sums, const int32_t *starts, int edge, int z, int y, int x)
{
    const float own = sums[VOXEL * (starts[row_of(edge, z, y)] + (int64_t)x) + WEIGHT];
    return x ? own : own + sums[VOXEL * (int64_t)starts[row_of(edge, -z, -y)] + WEIGHT];
}

void shell_weights(const float *sums, const int32_t *starts, const int64_t *lengths, int edge, double *totals,
                   double *counts)
{
    for (int z = -edge; z <= edge; z++)
        for (int y = -edge; y <= edge; y++)
            for (int x = 0; x < lengths[row_of(edge, z, y)]; x++) {
                const int shell = (int)rintf(radius_of(z, y, x));
                totals[shell] += weight_of(sums, starts, edge, z, y, x);
                counts[shell] += 1;
            }
}

void divided(const float *sums, const int32_t *starts, const int64_t *lengths, int edge, int held, float reach,
             const double *least, float *transform)
{
    for (int z = -held; z <= held; z++)
        for (int y = -held; y <= held; y++) {
            const int64_t row = row_of(edge, z, y);
            float *out = transform + 2 * (int64_t)(held + 1) * row_of(held, z, y);
            for (int x = 0; x <= held && x < lengths[row]; x++, out += 2) {
                const float radius = radius_of(z, y, x);
                if (radius > reach)
                    continue;
                const float *own = sums + VOXEL * (starts[row] + (int64_t)x);
                const float *mate = sums + VOXEL * (int64_t)starts[row_of(edge, -z, -y)];
                const double weight = weight_of(sums, starts, edge, z, y, x), floor = least[(int)rintf(radius)];
                const double by = weight > floor ? weight : floor;
                out[0] = (float)((x ? own[0] : own[0] + mate[0]) / by);
                out[1] = (float)((x ? own[1] : own[1] - mate[1]) / by);
            }
        }
}
