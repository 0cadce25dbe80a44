// Isosurfaces: surface nets (Gibson 1998, MICCAI, 888) of volumes of bytes, order z, y, x.

// Corners of a cell by the bits of their number: x, y, z; and the pairs of them that its edges join
const EDGES = [0, 1, 2, 3, 4, 5, 6, 7].flatMap((a) => [1, 2, 4].filter((bit) => !(a & bit)).map((bit) => [a, a | bit]));

// Vertices, one in each cell that the surface passes through, in voxels from the volume's centre, and triangles.
export function surfaceNet(values, n, level) {
  const corner = [0, 1, 2, 3, 4, 5, 6, 7].map((i) => (i & 1) + (i & 2 ? n : 0) + (i & 4 ? n * n : 0));
  const back = [1, n, n * n];
  const vertices = new Int32Array(n ** 3);
  const positions = [];
  const triangles = [];
  for (let z = 0; z < n - 1; z++) {
    for (let y = 0; y < n - 1; y++) {
      let at = (z * n + y) * n;
      let next = side(at);
      for (let x = 0; x < n - 1; x++, at++) {
        const inside = next | ((next = side(at + 1)) << 1);
        if (inside === 0 || inside === 255) continue;
        vertices[at] = positions.length / 3;
        putVertex(at, inside, x, y, z);
        putFaces(at, inside, [x, y, z]);
      }
    }
  }
  return { positions: new Float32Array(positions), triangles: new Uint32Array(triangles) };

  // Bits of the four corners of a cell with the least x
  function side(at) {
    return (values[at] >= level) | ((values[at + n] >= level) << 2) | ((values[at + n * n] >= level) << 4)
      | ((values[at + n + n * n] >= level) << 6);
  }

  // At the middle of the points where the surface crosses the cell's edges
  function putVertex(at, inside, x, y, z) {
    let crossings = 0;
    const sum = [0, 0, 0];
    for (const [a, b] of EDGES) {
      if (((inside >> a) & 1) === ((inside >> b) & 1)) continue;
      const from = values[at + corner[a]];
      const along = (level - from) / (values[at + corner[b]] - from);
      crossings++;
      for (let axis = 0; axis < 3; axis++) {
        const start = (a >> axis) & 1;
        sum[axis] += start + along * (((b >> axis) & 1) - start);
      }
    }
    const half = Math.floor(n / 2);
    positions.push(x + sum[0] / crossings - half, y + sum[1] / crossings - half, z + sum[2] / crossings - half);
  }

  // Of the four cells around each edge from the first corner that the surface crosses; the other three came before
  function putFaces(at, inside, place) {
    for (let axis = 0; axis < 3; axis++) {
      const first = inside & 1;
      if (first === ((inside >> (1 << axis)) & 1)) continue;
      const u = (axis + 1) % 3;
      const v = (axis + 2) % 3;
      if (!place[u] || !place[v]) continue;
      const [a, b, c, d] = [at, at - back[u], at - back[u] - back[v], at - back[v]].map((cell) => vertices[cell]);
      triangles.push(...(first ? [a, b, c, a, c, d] : [a, c, b, a, d, c]));
    }
  }
}

// A volume's value between voxels; coordinates from its centre
export function valueAt(values, n, x, y, z) {
  const half = Math.floor(n / 2);
  const clamp = (value) => Math.min(Math.max(value + half, 0), n - 1.001);
  const [px, py, pz] = [clamp(x), clamp(y), clamp(z)];
  const [ix, iy, iz] = [Math.floor(px), Math.floor(py), Math.floor(pz)];
  const [fx, fy, fz] = [px - ix, py - iy, pz - iz];
  const at = (iz * n + iy) * n + ix;
  const row = (i) => values[i] + fx * (values[i + 1] - values[i]);
  const plane = (i) => row(i) + fy * (row(i + n) - row(i));
  return plane(at) + fz * (plane(at + n * n) - plane(at));
}

// Against the gradient: away from the density
export function normals(values, n, positions) {
  const made = new Float32Array(positions.length);
  for (let i = 0; i < positions.length; i += 3) {
    const [x, y, z] = [positions[i], positions[i + 1], positions[i + 2]];
    const gx = valueAt(values, n, x - 1, y, z) - valueAt(values, n, x + 1, y, z);
    const gy = valueAt(values, n, x, y - 1, z) - valueAt(values, n, x, y + 1, z);
    const gz = valueAt(values, n, x, y, z - 1) - valueAt(values, n, x, y, z + 1);
    const length = Math.hypot(gx, gy, gz) || 1;
    made.set([gx / length, gy / length, gz / length], i);
  }
  return made;
}

// Half as many voxels a side, the centre in its place: each is the mean of a voxel, twice, and its six neighbours
export function halved(values, n) {
  const small = Math.floor(n / 2);
  const made = new Uint8Array(small ** 3);
  const shift = Math.floor(n / 2) - 2 * Math.floor(small / 2);
  const around = [-1, 1, -n, n, -n * n, n * n];
  // the outermost voxels stay empty
  for (let z = 1; z < small - 1; z++) {
    for (let y = 1; y < small - 1; y++) {
      for (let x = 1; x < small - 1; x++) {
        const at = ((2 * z + shift) * n + 2 * y + shift) * n + 2 * x + shift;
        let sum = 2 * values[at];
        for (const step of around) sum += values[at + step];
        made[(z * small + y) * small + x] = Math.round(sum / 8);
      }
    }
  }
  return made;
}
