// numbered.mjs - audio whose every 20 ms says which it is: the same as numbered.h makes.

export function numberedCell(number) {
  const cell = Buffer.alloc(640);
  let noise = (Math.imul(number, 2654435761 | 0) | 1) >>> 0;
  [0x524c, 0x5953, number & 0xffff, number >>> 16].forEach((head, i) => cell.writeUInt16LE(head, 2 * i));
  for (let i = 4; i < 320; i++) {
    noise = (noise ^ (noise << 13)) >>> 0;
    noise = (noise ^ (noise >>> 17)) >>> 0;
    noise = (noise ^ (noise << 5)) >>> 0;
    cell.writeUInt16LE(noise >>> 16, 2 * i);
  }
  return cell;
}

export const numberedCells = (first, last) =>
  Buffer.concat(Array.from({ length: last - first + 1 }, (_, i) => numberedCell(first + i)));

export const numberedWords = (first, last) => Array.from({ length: last - first + 1 }, (_, i) => ` n${first + i}`).join('');

export function numberedPacket(number) {
  const packet = Buffer.alloc(24);
  packet.write('\x48RLYS', 'latin1');
  packet.writeUInt32LE(number, 5);
  for (let i = 9; i < 24; i++) packet[i] = (number * 31 + i * 7) & 255;
  return packet;
}
