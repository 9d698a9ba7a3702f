// Which frames an object reads: the memory policies "sam2" and "visible", forward in time.

// `prompted` and `tracked` are the object's results by frame; returns the memories and the pointers to read.
export function select(frame, prompted, tracked, config) {
  const spatial = config.num_maskmem - 1;
  const reach = config.max_object_pointers_in_encoder - 1;
  const conditioning = [...prompted.keys()].sort((one, other) => one - other);
  const memories = conditioning.map((other) => ({ result: prompted.get(other), index: spatial }));
  const recent = recentFrames(frame, spatial, prompted, tracked, policyOf(config));
  for (let index = recent.length - 1; index >= 0; index--) {
    const result = tracked.get(recent[index]);
    if (result) memories.push({ result, index });
  }
  const pointers = conditioning
    .filter((other) => other <= frame)
    .map((other) => ({ result: prompted.get(other), distance: frame - other }));
  for (let distance = reach; distance >= 1; distance--) {
    const result = tracked.get(frame - distance);
    if (result) pointers.push({ result, distance });
  }
  return { memories, pointers };
}

function policyOf(config) {
  const named = config.memory_policy;
  return typeof named === 'string' ? named : named.name;
}

// Frames with spatial memories, the newest first: the last ones, or the last that show the object and the neighbour.
function recentFrames(frame, count, prompted, tracked, policy) {
  if (policy !== 'visible') return Array.from({ length: count }, (_, index) => frame - 1 - index);
  const visible = [...tracked.keys()]
    .filter((other) => other < frame && tracked.get(other).score > 0)
    .sort((one, other) => other - one)
    .slice(0, count);
  const neighbour = frame - 1;
  const isThere = tracked.has(neighbour) || prompted.has(neighbour);
  return visible[0] !== neighbour && isThere ? [neighbour, ...visible].slice(0, count) : visible;
}

// What distances of pointers are divided by.
export function distanceScale(config, frames) {
  return Math.max(Math.min(frames, config.max_object_pointers_in_encoder) - 1, 1);
}
