//! Commands, jobs and what follows from them: new tables, a new status.

use std::sync::Arc;

use weir_engine::time::Time;

use super::command::{Command, Reply};
use super::job::{self, Done, What};
use super::status::VipStatus;
use super::world::World;
use super::{Control, Dataplane, HEALTH_INTERVAL, Happening, REPORTED_PER_TURN};
use crate::overlay::Overlay;

impl<D: Dataplane> Control<D> {
    pub(super) fn command(&mut self, now: Time, command: Command) {
        match command {
            Command::Health {
                service,
                server,
                reply,
            } => {
                let _ = reply.send(self.health.board().report_one(now, &service, &server));
            }
            Command::Stop => {}
            Command::Resign { instance, reply } => {
                let known = |name: &String| self.world.config.vrrp.iter().any(|v| v.name == *name);
                let said = match instance {
                    Some(name) if !known(&name) => Err(format!("there is no VRRP instance {name}")),
                    name => {
                        let count = self.resign(now, name.as_deref());
                        Ok(format!("{count} instances stepped down"))
                    }
                };
                let _ = reply.send(said);
            }
            Command::Apply {
                file,
                allow_shrink,
                reply,
            } => {
                let path = file.unwrap_or_else(|| self.path.clone());
                self.start_job(move |world| job::reload(world, &path, allow_shrink, reply));
            }
            Command::Edit {
                service,
                server,
                edit,
                by,
                reply,
            } => {
                let mut overlay = Overlay::clone(&self.world.overlay);
                let names = (service.as_str(), server.as_str());
                match overlay.edit(&self.world.config, names, edit, (&by, seconds_since_1970())) {
                    Err(error) => drop(reply.send(Err(error.to_string()))),
                    Ok(()) => {
                        let message = format!("{service}/{server}: {edit}");
                        self.start_edit(overlay, message, reply);
                    }
                }
            }
            Command::Reset { reply } => {
                let mut overlay = Overlay::clone(&self.world.overlay);
                let count = overlay.reset();
                self.start_edit(overlay, format!("{count} runtime changes dropped"), reply);
            }
        }
    }

    pub(super) fn start_edit(
        &mut self,
        overlay: Overlay,
        message: String,
        reply: tokio::sync::oneshot::Sender<Reply>,
    ) {
        let overlay = Arc::new(overlay);
        let old = std::mem::replace(&mut self.world.overlay, overlay);
        self.retired.add(old);
        self.start_job(move |world| job::edit(world, message, reply));
    }

    /// Starts a job on the present world; none runs.
    pub(super) fn start_job(&mut self, job: impl FnOnce(World) -> Done + Send + 'static) {
        self.world.verdicts = self.health.board().verdicts().clone();
        let world = self.world.clone();
        self.job = Some(job::start(move || job(world)));
    }

    /// Takes over what the finished job came to.
    pub(super) async fn finish_job(&mut self) {
        let Some(job) = self.job.take() else { return };
        let now = self.now();
        let done = match job.await {
            Ok(done) => done,
            Err(error) => {
                tracing::error!(%error, "a job of the control thread failed: tables stay");
                return;
            }
        };
        let result = match done.outcome {
            Ok(world) => {
                self.adopt(now, done.what, world).await;
                if done.what == What::Reload {
                    self.commands.events.tell(Happening::Applied {
                        revision: self.status.revision,
                        text: done.message.clone(),
                    });
                }
                Ok(done.message)
            }
            Err(error) => {
                if done.what == What::Reload {
                    self.status.reload_failures += 1;
                    self.commands.events.tell(Happening::Refused {
                        text: error.clone(),
                    });
                }
                tracing::error!("refused: {error}");
                Err(error)
            }
        };
        if done.what != What::Refresh
            && let Ok(message) = &result
        {
            tracing::info!("{message}");
            self.status.last_change = (now, message.clone());
        }
        self.show(now);
        if let Some(reply) = done.reply {
            let _ = reply.send(result); // Whoever asked may have gone.
        }
    }

    pub(super) async fn adopt(&mut self, now: Time, what: What, world: World) {
        if what == What::Reload
            && let Some(kernel) = &self.kernel
        {
            let handle = kernel.netlink.handle();
            let changed = kernel
                .taps
                .change(handle, &self.world.config, &world.config);
            if let Err(error) = changed.await {
                tracing::error!("{error}");
            }
        }
        self.take_over(now, what, world);
    }

    /// Runs by what a job came to; [`Self::show`] belongs after it.
    pub(super) fn take_over(&mut self, now: Time, what: What, mut world: World) {
        // What came in while the job ran is not in its copy.
        world.mirror = self.world.mirror.clone();
        world.verdicts = self.world.verdicts.clone();
        self.retired.add_all(&self.world, &world);
        self.world = world;
        self.quorums_changed(now);
        if what == What::Reload {
            self.status.revision += 1;
        }
        self.publish(now);
    }

    /// Hands the present tables to the workers and to everything here that follows them.
    pub(super) fn publish(&mut self, now: Time) {
        let world = &self.world;
        let (tables, config) = (&world.snapshot.tables, &world.config);
        self.responder.configure(now, Arc::clone(&world.homes));
        self.uplink.configure(tables);
        self.paths.configure(tables);
        (self.suppression).configure(now, Arc::clone(&world.holders));
        self.scripts.configure(now, config);
        self.health.configure(now, &world.roster);
        let (all, out) = (Arc::clone(tables), &mut self.vrrp_actions);
        self.routers.configure(now, config, all, out);
        self.perform_vrrp(now);
        if let Some(kernel) = &mut self.kernel {
            kernel.keep(&self.world.neighbours);
        }
        self.dataplane
            .publish(Arc::clone(&self.world.snapshot.tables));
        self.published_at = now;
    }

    /// Goes on with the report of health, or begins one if that is due. It is shown once it is
    /// complete.
    pub(super) fn report_health(&mut self, now: Time) {
        if !self.health.board().is_reporting() {
            let changed = self.reported != self.health.board().revision();
            if !changed && now < self.report_at {
                return;
            }
            self.reported = self.health.board().revision();
            self.report_at = now + HEALTH_INTERVAL;
        }
        if let Some(report) = self.health.report(now, REPORTED_PER_TURN) {
            let old = std::mem::replace(&mut self.status.health, Arc::new(report));
            self.retired.add(old);
            self.stale = true;
        }
    }

    /// Replaces the status that others see.
    pub(super) fn show(&mut self, now: Time) {
        self.report_health(now);
        (self.status_at, self.stale) = (now, false);
        let (world, board) = (&self.world, self.health.board());
        let status = &mut self.status;
        if std::mem::replace(&mut self.vips_shown, self.responder.revision())
            != self.responder.revision()
        {
            status.vips = Arc::new(self.responder.vips().map(VipStatus::from).collect());
        }
        status.config = Some(Arc::clone(&world.config));
        status.overlay = Arc::clone(&world.overlay);
        status.verdicts = board.verdicts().clone();
        status.quorums = Arc::clone(&world.snapshot.quorums);
        status.brakes = board.brakes();
        status.lateness = board.lateness().clone();
        status.tables = Arc::clone(&world.snapshot.tables);
        status.mirror = world.mirror.clone();
        status.links = self.links.clone();
        status.arp_replies = self.responder.replies();
        status.uplink = self.uplink.counters().clone();
        status.vrrp = self.routers.report();
        status.leaks = self.suppression.leaks(now);
        status.vrrp_errors = *self.routers.errors();
        status.vrrp_refusals = self.routers.refusals(now);
        status.now = now;
        self.commands.status.send_replace(Arc::new(status.clone()));
    }
}

/// The date of a runtime change.
fn seconds_since_1970() -> u64 {
    #[expect(
        clippy::disallowed_methods,
        reason = "a date for people, no timing depends on it"
    )]
    let now = std::time::SystemTime::now();
    now.duration_since(std::time::UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}
