//! A load that follows the machine. What a core can swings with the machine under it, up to twofold
//! within seconds, so a rate that was nine tenths of it once is an overload in the next second.
//! So every tenth of a second the worker's own clock is read: the frames that it moved over the
//! time of its turns that moved frames are what it can, gaps included, and the share of that which
//! is wanted is the next rate.
//!
//! Below overload this makes its busy share what is wanted. In overload, where the busy share is 1
//! whatever is offered, it still tells how much too much it is.

use serde_json::{Value, json};

/// Nanoseconds between two readings: some hundred thousand frames.
pub(crate) const READING: u64 = 100_000_000;
/// The most that a rate changes at once, as a factor.
const STEP_MAX: f64 = 1.25;

/// A rate that follows.
#[derive(Clone, Debug)]
pub(crate) struct Load {
    share: f64,
    /// Frames a second, until the next reading.
    pub(crate) rate: f64,
    /// Least and most since they were told.
    bounds: (f64, f64),
    readings: u64,
    /// Readings in which no frame was refused.
    clean: u64,
}

impl Load {
    /// The share of what the director can, which seems to be `most` frames a second.
    pub(crate) fn new(share: f64, most: f64) -> Self {
        let rate = share * most;
        Self {
            share,
            rate,
            bounds: (rate, rate),
            readings: 0,
            clean: 0,
        }
    }

    /// Takes a reading: frames moved, nanoseconds of turns that moved some, frames refused.
    pub(crate) fn read(&mut self, frames: u64, busy: u64, refused: u64) {
        self.readings += 1;
        self.clean += u64::from(refused == 0);
        if frames > 0 && busy > 0 {
            let wanted = self.share * frames as f64 * 1e9 / busy as f64;
            self.rate = wanted.clamp(self.rate / STEP_MAX, self.rate * STEP_MAX);
        }
        let (least, most) = self.bounds;
        self.bounds = (least.min(self.rate), most.max(self.rate));
    }

    /// Readings so far, and those in which no frame was refused.
    pub(crate) const fn readings(&self) -> (u64, u64) {
        (self.readings, self.clean)
    }

    /// Least and most rate since this was told last, in Mpps.
    pub(crate) fn tell(&mut self) -> Value {
        let (least, most) = std::mem::replace(&mut self.bounds, (self.rate, self.rate));
        json!([least / 1e6, most / 1e6])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn near(load: &Load, rate: f64) {
        assert!((load.rate - rate).abs() < 1.0, "{} {rate}", load.rate);
    }

    #[test]
    fn the_rate_is_the_wanted_share_of_what_the_worker_can() {
        let mut load = Load::new(0.9, 10e6);
        near(&load, 9e6);
        // 10 % faster than thought: 900,000 frames in 81.8 ms.
        load.read(900_000, 81_818_182, 0);
        near(&load, 9.9e6);
        // In overload: all of 100 ms for 900,000 frames, so it can 9 Mpps.
        load.read(900_000, 100_000_000, 99_000);
        near(&load, 8.1e6);
        // And stays there.
        load.read(810_000, 90_000_000, 0);
        near(&load, 8.1e6);
        assert_eq!(load.readings(), (3, 2));
    }

    #[test]
    fn steps_are_bounded_and_told() {
        let mut load = Load::new(0.5, 8e6);
        load.read(400_000, 1_000_000, 0);
        near(&load, 5e6);
        load.read(1, 100_000_000, 0);
        near(&load, 4e6);
        load.read(0, 0, 0);
        near(&load, 4e6);
        assert_eq!(load.tell(), json!([4.0, 5.0]));
        assert_eq!(load.tell(), json!([4.0, 4.0]));
    }
}
