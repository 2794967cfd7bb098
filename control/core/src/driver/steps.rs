//! The control thread step by step, for a caller with a clock of its own.
//!
//! Pairs of directors in one process under virtual time are driven through this; the daemon's
//! [`run`](super::run) takes the same steps. There is no kernel then: what it would say is what the
//! configuration says.

use weir_engine::time::Time;

use super::command::Commands;
use super::job::{self, What};
use super::world::World;
use super::{Control, Dataplane, Setup};
use crate::config::Config;
use crate::reconcile::ReconcileError;

/// A changed configuration with the tables that were made of it, not run yet.
#[derive(Debug)]
pub struct Change(World);

impl<D: Dataplane> Control<D> {
    /// Publishes the first tables at `now`; every later step names the time on the same clock.
    /// `setup.taps` does not count.
    ///
    /// # Errors
    /// If the configuration has more of something than there are slots.
    pub fn without_kernel(
        now: Time,
        setup: Setup,
        dataplane: D,
        commands: Commands,
    ) -> Result<Self, ReconcileError> {
        Self::begin(now, setup, None, (dataplane, commands))
    }

    /// When [`Self::turn`] has something to do even if no frame comes in.
    pub fn deadline(&self) -> Time {
        let timers = [
            self.routers.deadline(),
            self.responder.deadline(),
            self.suppression.deadline(),
        ];
        timers.into_iter().flatten().fold(self.links_at, Time::min)
    }

    /// Builds tables for another configuration, as a reload does beside the turns: whoever calls
    /// this may take turns before [`Self::adopt_change`].
    ///
    /// # Errors
    /// Why the configuration may not be run.
    pub fn prepare(&self, config: Config) -> Result<Change, String> {
        let (world, _) = job::accept(self.world.clone(), config, true)?;
        Ok(Change(world))
    }

    /// Runs by a changed configuration from `now` on.
    pub fn adopt_change(&mut self, now: Time, change: Change) {
        self.take_over(now, What::Reload, change.0);
        self.show(now);
    }

    /// Makes an Active instance and its group, or without a name all, step down in favour of any
    /// other director. Returns how many did.
    pub fn resign(&mut self, now: Time, instance: Option<&str>) -> usize {
        let count = self.routers.resign(now, instance, &mut self.vrrp_actions);
        self.perform_vrrp(now);
        count
    }

    /// Ends all instances, those that are Active with their last word; no turn follows.
    pub fn stop(&mut self, now: Time) {
        self.routers.stop(now, &mut self.vrrp_actions);
        self.perform_vrrp(now);
    }
}
