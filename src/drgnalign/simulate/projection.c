/* Points are spread onto periodic grids. projection.py says what each function is given and gives back. */
#include <math.h>
#include <stdint.h>

enum { TAPS = 4 };

/* Nodes of a periodic axis that a point touches, and its cubic B-spline weights there. */
typedef struct {
    int64_t nodes[TAPS];
    double weights[TAPS];
} Spread;

static inline Spread spread(double x, int64_t size)
{
    /* What no whole number counts, as inf, has no place, and no weights that mean anything. */
    int64_t below = fabs(x) < 9.2e18 ? (int64_t)x : 0;
    below -= below > x;
    const double t = x - below, s = 1.0 - t;
    /* One division a point: it would cost more than all else here. */
    const int64_t rest = (below - 1) % size, n0 = rest < 0 ? rest + size : rest;
    const int64_t n1 = n0 + 1 < size ? n0 + 1 : 0, n2 = n1 + 1 < size ? n1 + 1 : 0, n3 = n2 + 1 < size ? n2 + 1 : 0;
    return (Spread){
        {n0, n1, n2, n3},
        {
            s * s * s / 6.0,
            (4.0 - 6.0 * t * t + 3.0 * t * t * t) / 6.0,
            (4.0 - 6.0 * s * s + 3.0 * s * s * s) / 6.0,
            t * t * t / 6.0,
        },
    };
}

void splat_2d(double *grid, int64_t size, int64_t number, const double *points, const double *weights,
              const double *axes, const double *displacement)
{
    for (int64_t i = 0; i < number; i++, points += 3) {
        const double a = points[0], b = points[1], c = points[2];
        const Spread columns = spread(a * axes[0] + b * axes[2] + c * axes[4] + displacement[0], size);
        const Spread rows = spread(a * axes[1] + b * axes[3] + c * axes[5] + displacement[1], size);
        for (int j = 0; j < TAPS; j++) {
            const double weight = weights[i] * rows.weights[j];
            double *row = grid + size * rows.nodes[j];
            for (int k = 0; k < TAPS; k++) row[columns.nodes[k]] += weight * columns.weights[k];
        }
    }
}

void splat_3d(float *grid, int64_t size, int64_t number, const double *positions, const double *weights)
{
    for (int64_t i = 0; i < number; i++, positions += 3) {
        const Spread columns = spread(positions[0], size), rows = spread(positions[1], size);
        const Spread sections = spread(positions[2], size);
        for (int j = 0; j < TAPS; j++) {
            for (int k = 0; k < TAPS; k++) {
                const double weight = weights[i] * sections.weights[j] * rows.weights[k];
                float *row = grid + size * (size * sections.nodes[j] + rows.nodes[k]);
                for (int m = 0; m < TAPS; m++) row[columns.nodes[m]] += weight * columns.weights[m];
            }
        }
    }
}
