"""Random numbers by counter: each depends on its key and its number alone, not on the order in which it is drawn."""

from __future__ import annotations

from numba import float64, uint64

from signal_miner.engine.bitplane.compilation import compiled, inner


@inner
def mixed(word):
    """Return a word's hash (the finaliser of splitmix64: Steele, Lea and Flood, 2014)."""
    word = (word ^ (word >> uint64(30))) * uint64(0xBF58476D1CE4E5B9)
    word = (word ^ (word >> uint64(27))) * uint64(0x94D049BB133111EB)
    return word ^ (word >> uint64(31))


@inner
def drawn(key, number):
    """Return the `number`-th word of the stream of random words that `key` names."""
    return mixed(key + (uint64(number) + uint64(1)) * uint64(0x9E3779B97F4A7C15))


@compiled
def stream(seed, purpose, number):
    """Return the key of a stream of random words."""
    return drawn(drawn(mixed(uint64(seed)), purpose), number)


@inner
def uniform(word):
    """Return a random word as a number from 0 up to, but not including, 1."""
    return float64(word >> uint64(11)) * (1.0 / 9007199254740992.0)


@inner
def choose(key, candidates, count, chosen):
    """Set `count` random members of `chosen` among the first `candidates`, all others not (Knuth's algorithm S)."""
    needed = count
    for place in range(candidates):
        chosen[place] = uniform(drawn(key, place)) * (candidates - place) < needed
        needed -= chosen[place]


@compiled
def draw_bag(key, first, fraction, train, bag):
    """Keep each training row with probability `fraction`, independent of all others."""
    limit = uint64(fraction * 4294967296.0)
    for w in range(train.shape[0]):
        word = uint64(0)
        if train[w]:
            for pair in range(32):
                random = drawn(key, (first + w) * 32 + pair)
                word |= uint64((random & uint64(0xFFFFFFFF)) < limit) << uint64(pair)
                word |= uint64((random >> uint64(32)) < limit) << uint64(pair + 32)
        bag[w] = word & train[w]
