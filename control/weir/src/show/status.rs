//! The one screen.

use super::{short, span};
use crate::views::Status;

pub(crate) fn status(view: &Status) -> String {
    let ready = if view.ready {
        "FORWARDING"
    } else {
        "NOT READY"
    };
    let mut text = format!(
        "{ready} for {}; revision {} of {}\n\
         {} services, {}/{} servers up, {} of {} flows\n\
         last change: {}\n",
        span(view.since_seconds),
        view.config_revision,
        view.config_file,
        view.services,
        view.servers_up,
        view.servers,
        short(view.flows),
        short(view.flows_capacity),
        view.last_change,
    );
    if view.problems.is_empty() {
        text.push_str("no problems\n");
    }
    for problem in &view.problems {
        text.push_str(&format!(
            "{}: {}: {}\n",
            problem.severity, problem.subject, problem.text
        ));
        if !problem.fix.is_empty() {
            text.push_str(&format!("    fix: {}\n", problem.fix));
        }
    }
    text
}
