//! Commands, jobs and what follows from them: new tables, a new status.

use std::sync::Arc;

use weir_engine::id::PortId;
use weir_engine::time::Time;

use super::command::{Command, Reply};
use super::job::{self, Done, What, World};
use super::kernel::wanted_neighbours;
use super::status::{Status, VipStatus};
use super::{Control, Dataplane, HEALTH_INTERVAL, Happening};
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
                let mut overlay = self.world.overlay.clone();
                let names = (service.as_str(), server.as_str());
                match overlay.edit(&self.world.config, names, edit, (&by, seconds_since_1970())) {
                    Err(error) => drop(reply.send(Err(error.to_string()))),
                    Ok(()) => {
                        let message = format!("{service}/{server}: {edit}");
                        self.start_edit(now, overlay, message, reply);
                    }
                }
            }
            Command::Reset { reply } => {
                let mut overlay = self.world.overlay.clone();
                let count = overlay.reset();
                self.start_edit(
                    now,
                    overlay,
                    format!("{count} runtime changes dropped"),
                    reply,
                );
            }
        }
    }

    pub(super) fn start_edit(
        &mut self,
        now: Time,
        overlay: Overlay,
        message: String,
        reply: tokio::sync::oneshot::Sender<Reply>,
    ) {
        // Probes stop and start at once; tables follow with the job.
        self.world.overlay = overlay;
        self.health
            .configure(now, &self.world.config, &self.world.overlay);
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
        if done.what != What::Refresh {
            if let Ok(message) = &result {
                tracing::info!("{message}");
                self.status.last_change = (now, message.clone());
            }
            self.show(now);
        }
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

    /// Runs by what a job came to.
    pub(super) fn take_over(&mut self, now: Time, what: What, world: World) {
        self.world.snapshot = world.snapshot;
        self.world.holders = world.holders;
        self.quorums_changed(now);
        if what == What::Reload {
            self.world.config = world.config;
            self.world.overlay = world.overlay;
            self.health
                .configure(now, &self.world.config, &self.world.overlay);
            self.status.revision += 1;
            // A server with another target is another server, and down until it passes.
            self.dirty |= self
                .world
                .config
                .services
                .iter()
                .any(|s| s.health.is_some());
        }
        self.publish(now);
    }

    /// Hands the present tables to the workers and to everything here that follows them.
    pub(super) fn publish(&mut self, now: Time) {
        let tables = self.world.snapshot.tables.clone();
        self.responder.configure(now, &tables);
        self.uplink.configure(&tables);
        self.paths.configure(&tables);
        (self.suppression).configure(now, Arc::clone(&self.world.holders));
        self.scripts.configure(now, &self.world.config);
        let (config, out) = (&self.world.config, &mut self.vrrp_actions);
        self.routers.configure(now, config, tables.clone(), out);
        self.perform_vrrp(now);
        if let Some(kernel) = &self.kernel {
            let wanted = wanted_neighbours(&tables, &self.world.config, &kernel.taps);
            kernel.netlink.keep(wanted);
        }
        self.dataplane.publish(tables);
        self.published_at = now;
        self.show(now);
    }

    /// Replaces the status that others see.
    pub(super) fn show(&mut self, now: Time) {
        self.status_at = now;
        let due = now.since(self.health_at) >= HEALTH_INTERVAL;
        if due || std::mem::take(&mut self.stale) || self.status.health.is_empty() {
            self.health_at = now;
            self.status.health = Arc::new(self.health.board().report(now));
        }
        let vip = |(vip, role, ports, conflicts): (_, _, &[PortId], _)| VipStatus {
            vip,
            role,
            ports: ports.to_vec(),
            conflicts,
        };
        let status = Status {
            config: Some(self.world.config.clone()),
            config_file: self.path.display().to_string(),
            overlay: self.world.overlay.clone(),
            verdicts: self.health.board().verdicts().clone(),
            quorums: self.world.snapshot.quorums.clone(),
            brakes: self.health.board().brakes(),
            lateness: self.health.board().lateness().clone(),
            tables: self.world.snapshot.tables.clone(),
            mirror: self.world.mirror.clone(),
            links: self.links.clone(),
            vips: self.responder.vips().map(vip).collect(),
            arp_replies: self.responder.replies(),
            uplink: self.uplink.counters().clone(),
            vrrp: self.routers.report(),
            leaks: self.suppression.leaks(now),
            vrrp_errors: *self.routers.errors(),
            now,
            ..self.status.clone()
        };
        self.commands.status.send_replace(Arc::new(status.clone()));
        self.status = status;
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
