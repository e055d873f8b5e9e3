import type { Priority } from './prediction.js';

/** Where somebody stands in a {@link WaitingLine}. */
export interface Place<T> {
  readonly value: T;
  readonly lane: Lane<T>;
  previous: Place<T> | undefined;
  next: Place<T> | undefined;
}

/** The requests of one tenant at one priority, in order of arrival; a link of the ring of lanes in which somebody waits. */
class Lane<T> {
  head: Place<T> | undefined;
  tail: Place<T> | undefined;
  before: Lane<T> | undefined;
  after: Lane<T> | undefined;

  constructor(readonly level: Level<T>) {}
}

/** One priority: a ring of the lanes in which somebody waits, and whose turn it is. */
interface Level<T> {
  /** By tenant; those in which nobody waits are kept, up to {@link MOST_LANES}. */
  lanes: Map<string, Lane<T>>;
  length: number;
  turn: Lane<T> | undefined;
}

/** Tenants that a priority remembers beyond those who wait. */
const MOST_LANES = 1000;
const LEVELS: Readonly<Record<Priority, number>> = { high: 0, normal: 1, low: 2 };

/**
 * Who waits, and who is next: the highest priority first; within it one request of each tenant in turn, so that a tenant
 * with a thousand requests delays the others by one; within a tenant first come first served. Everything is O(1),
 * leaving from the middle too.
 */
export class WaitingLine<T> {
  readonly #levels: readonly Level<T>[] = Object.values(LEVELS).map(() => ({
    lanes: new Map<string, Lane<T>>(),
    length: 0,
    turn: undefined,
  }));
  #length = 0;

  get length(): number {
    return this.#length;
  }

  push(value: T, priority: Priority = 'normal', tenant = ''): Place<T> {
    const level = this.#levels[LEVELS[priority]] as Level<T>;
    const lane = level.lanes.get(tenant) ?? open(level, tenant);
    if (lane.head === undefined) enter(lane);
    const place: Place<T> = { value, lane, previous: lane.tail, next: undefined };
    if (lane.tail === undefined) lane.head = place;
    else lane.tail.next = place;
    lane.tail = place;
    level.length++;
    this.#length++;
    return place;
  }

  /** Who is next; stays in the line. */
  peek(): T | undefined {
    return this.#first()?.value;
  }

  /** Takes who is next out of the line; the turn goes to the next tenant. */
  shift(): T | undefined {
    const place = this.#first();
    if (place === undefined) return undefined;
    const { lane } = place;
    this.remove(place);
    // A lane that is empty now has left the ring, and the turn went on with that.
    if (lane.head !== undefined) lane.level.turn = lane.after;
    return place.value;
  }

  /** Takes somebody out, wherever he stands. Only for places of this line that were not taken out yet. */
  remove(place: Place<T>): void {
    const { lane, previous, next } = place;
    if (previous === undefined) lane.head = next;
    else previous.next = next;
    if (next === undefined) lane.tail = previous;
    else next.previous = previous;
    // A dead link in the old generation would keep every later one alive until the next full collection.
    place.previous = undefined;
    place.next = undefined;
    lane.level.length--;
    this.#length--;
    if (lane.head === undefined) leave(lane);
  }

  /** How many are served before somebody who comes now with `priority`. */
  ahead(priority: Priority = 'normal'): number {
    let count = 0;
    for (let level = 0; level <= LEVELS[priority]; level++) count += this.#levels[level]?.length ?? 0;
    return count;
  }

  /** All who wait, in no particular order. */
  *[Symbol.iterator](): Generator<Place<T>> {
    for (const level of this.#levels) {
      for (const lane of level.lanes.values())
        for (let place = lane.head; place !== undefined; place = place.next) yield place;
    }
  }

  #first(): Place<T> | undefined {
    for (const level of this.#levels) if (level.turn !== undefined) return level.turn.head;
    return undefined;
  }
}

/**
 * Lanes are not dropped when they are empty but swept when there are many. Apart from being cheaper, a Map that shrinks
 * after each request leaves a chain of dead tables in the old generation, which keeps all that ever waited alive for long.
 */
function open<T>(level: Level<T>, tenant: string): Lane<T> {
  if (level.lanes.size >= MOST_LANES + 2 * level.length)
    level.lanes = new Map([...level.lanes].filter(([, lane]) => lane.head !== undefined));
  const lane = new Lane<T>(level);
  level.lanes.set(tenant, lane);
  return lane;
}

/** A lane that nobody waited in joins the ring behind all others. */
function enter<T>(lane: Lane<T>): void {
  const { level } = lane;
  const turn = level.turn;
  if (turn === undefined) {
    level.turn = lane;
    lane.before = lane;
    lane.after = lane;
    return;
  }
  const last = turn.before as Lane<T>;
  last.after = lane;
  lane.before = last;
  lane.after = turn;
  turn.before = lane;
}

function leave<T>(lane: Lane<T>): void {
  const { level, before, after } = lane;
  lane.before = undefined;
  lane.after = undefined;
  if (before === undefined || after === undefined || after === lane) {
    level.turn = undefined;
    return;
  }
  before.after = after;
  after.before = before;
  if (level.turn === lane) level.turn = after;
}
