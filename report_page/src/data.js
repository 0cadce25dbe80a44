// What the page holds in its blocks of JSON, and the volumes and points in them.

export function block(id) {
  const element = document.getElementById(id);
  return element ? JSON.parse(element.textContent) : null;
}

// Raw deflate in base64 -> bytes
export async function unpack(text) {
  const squeezed = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  const stream = new Blob([squeezed]).stream().pipeThrough(new DecompressionStream('deflate-raw'));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

// Numbers of 16 bits, whose low bytes come first
export async function unpackWords(text) {
  const bytes = await unpack(text);
  const count = bytes.length / 2;
  return Uint16Array.from({ length: count }, (_, i) => bytes[i] | (bytes[count + i] << 8));
}

export async function unpackNames(text) {
  const names = new TextDecoder().decode(await unpack(text));
  return names ? names.split('\n') : [];
}
