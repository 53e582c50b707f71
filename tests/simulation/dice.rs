//! All random choices of a run: one generator, one seed, the same numbers on every platform.

use std::{sync::Mutex, time::Duration};

use mediaforge::domain::clock::Random;
use rand::{Rng as _, SeedableRng as _, rngs::Xoshiro256PlusPlus};

/// A seeded generator that the tasks of one run share.
pub struct Dice(Mutex<Xoshiro256PlusPlus>);

impl Dice {
    pub fn new(seed: u64) -> Self {
        Self(Mutex::new(Xoshiro256PlusPlus::seed_from_u64(seed)))
    }

    /// From 0 to `n - 1`.
    pub fn below(&self, n: u64) -> u64 {
        self.next_u64() % n.max(1)
    }

    /// From `least` to `most`, inclusive.
    pub fn between(&self, least: u64, most: u64) -> u64 {
        least + self.below(most - least + 1)
    }

    /// True in this many of a thousand cases.
    pub fn chance(&self, per_mille: u32) -> bool {
        self.below(1000) < u64::from(per_mille)
    }

    pub fn millis(&self, least: u64, most: u64) -> Duration {
        Duration::from_millis(self.between(least, most))
    }

    pub fn pick<'a, T>(&self, from: &'a [T]) -> &'a T {
        &from[self.index(from.len())]
    }

    pub fn index(&self, length: usize) -> usize {
        usize::try_from(self.below(length as u64)).expect("an index")
    }
}

impl Random for Dice {
    fn next_u64(&self) -> u64 {
        self.0.lock().expect("no panic under the lock").next_u64()
    }
}
