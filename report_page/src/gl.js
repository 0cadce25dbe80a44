// Drawing of surfaces by WebGL 2: one program, many views on one canvas.

const VERTEX = `#version 300 es
in vec3 position;
in vec3 normal;
in vec3 colour;
uniform mat3 turn;
uniform vec2 shift;
uniform vec2 scale;
uniform float depth;
out vec3 facing;
out vec3 painted;
out float near;
void main() {
  vec3 place = turn * position;
  facing = turn * normal;
  painted = colour;
  near = place.z * depth;
  gl_Position = vec4((place.xy + shift) * scale, -near, 1.0);
}`;
// A lamp at the viewer's left shoulder; what is far is a little paler.
const FRAGMENT = `#version 300 es
precision mediump float;
in vec3 facing;
in vec3 painted;
in float near;
out vec4 shown;
void main() {
  vec3 normal = normalize(facing);
  if (!gl_FrontFacing) normal = -normal;
  float light = 0.35 + 0.65 * max(dot(normal, normalize(vec3(-0.4, 0.5, 1.0))), 0.0);
  float shine = pow(max(dot(normal, normalize(vec3(-0.2, 0.25, 1.0))), 0.0), 30.0);
  vec3 lit = painted * light + 0.15 * shine;
  shown = vec4(mix(lit, vec3(1.0), 0.35 * clamp(0.3 - 0.6 * near, 0.0, 1.0)), 1.0);
}`;
const ATTRIBUTES = ['position', 'normal', 'colour'];

// null where there is no WebGL 2
export function painter(canvas) {
  const gl = canvas.getContext('webgl2', { antialias: true, alpha: true, preserveDrawingBuffer: true });
  if (!gl) return null;
  const program = linked(gl);
  let places = null;

  return {
    // positions, normals: 3 floats a vertex; colours: 3 bytes
    upload({ positions, normals, colours, triangles }) {
      places ??= begun();
      const array = gl.createVertexArray();
      gl.bindVertexArray(array);
      const buffers = [positions, normals, colours].map((data, i) => buffer(gl.ARRAY_BUFFER, data, ATTRIBUTES[i]));
      buffers.push(buffer(gl.ELEMENT_ARRAY_BUFFER, triangles));
      gl.bindVertexArray(null);
      return { array, buffers, length: triangles.length };
    },
    recolour(mesh, colours) {
      gl.bindBuffer(gl.ARRAY_BUFFER, mesh.buffers[2]);
      gl.bufferData(gl.ARRAY_BUFFER, colours, gl.STATIC_DRAW);
    },
    free(mesh) {
      gl.deleteVertexArray(mesh.array);
      for (const one of mesh.buffers) gl.deleteBuffer(one);
    },
    clear() {
      gl.clearColor(0, 0, 0, 0);
      gl.clear(gl.COLOR_BUFFER_BIT | gl.DEPTH_BUFFER_BIT);
    },
    // views: [mesh, {left, bottom, width, height} in pixels of the canvas]; camera: turn (9 numbers, columns first), shift and
    // radius in the positions' units
    draw(views, camera) {
      gl.viewport(0, 0, canvas.width, canvas.height);
      this.clear();
      gl.uniformMatrix3fv(places.turn, false, camera.turn);
      gl.uniform2fv(places.shift, camera.shift);
      gl.uniform1f(places.depth, 1 / camera.depth);
      for (const [mesh, { left, bottom, width, height }] of views) {
        const side = Math.min(width, height);
        gl.viewport(left, bottom, width, height);
        gl.uniform2f(places.scale, side / width / camera.radius, side / height / camera.radius);
        gl.bindVertexArray(mesh.array);
        gl.drawElements(gl.TRIANGLES, mesh.length, gl.UNSIGNED_INT, 0);
      }
      gl.bindVertexArray(null);
    },
  };

  // Only when there is something to draw, for the program may have to be waited for
  function begun() {
    if (!gl.getProgramParameter(program, gl.LINK_STATUS)) throw new Error(gl.getProgramInfoLog(program));
    gl.useProgram(program);
    gl.enable(gl.DEPTH_TEST);
    return Object.fromEntries(['turn', 'shift', 'scale', 'depth'].map((name) => [name, gl.getUniformLocation(program, name)]));
  }

  function buffer(target, data, attribute) {
    const made = gl.createBuffer();
    gl.bindBuffer(target, made);
    gl.bufferData(target, data, gl.STATIC_DRAW);
    if (attribute) {
      const place = gl.getAttribLocation(program, attribute);
      const bytes = data instanceof Uint8Array;
      gl.enableVertexAttribArray(place);
      gl.vertexAttribPointer(place, 3, bytes ? gl.UNSIGNED_BYTE : gl.FLOAT, bytes, 0, 0);
    }
    return made;
  }
}

function linked(gl) {
  const program = gl.createProgram();
  for (const [kind, source] of [[gl.VERTEX_SHADER, VERTEX], [gl.FRAGMENT_SHADER, FRAGMENT]]) {
    const shader = gl.createShader(kind);
    gl.shaderSource(shader, source);
    gl.compileShader(shader);
    gl.attachShader(program, shader);
  }
  gl.linkProgram(program);
  return program;
}
