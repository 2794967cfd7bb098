//! Which slot a server has, by the names of its service and of itself.

use std::sync::Arc;

use hashbrown::Equivalent;
use weir_engine::id::ServerId;
use weir_engine::tables::Map;

use super::Placed;

/// Servers by service and name.
pub type ServersByName = Map<(Arc<str>, Arc<str>), ServerId>;

/// Names that are only borrowed, to look up with.
#[derive(Hash)]
pub(super) struct Names<'a>(&'a str, &'a str);

impl Equivalent<(Arc<str>, Arc<str>)> for Names<'_> {
    fn equivalent(&self, (service, server): &(Arc<str>, Arc<str>)) -> bool {
        *self.0 == **service && *self.1 == **server
    }
}

/// The slot of a server.
pub(super) fn find(map: &ServersByName, service: &str, server: &str) -> Option<ServerId> {
    map.get(&Names(service, server)).copied()
}

/// The slots of all servers. If nothing changed, the map is the one before: it is the control
/// thread that frees an old one.
pub(super) fn of(placed: &[Placed<'_>], previous: &Arc<ServersByName>) -> Arc<ServersByName> {
    let known = |p: &Placed<'_>| find(previous, &p.service.1.name, &p.server.name) == Some(p.id);
    if placed.len() == previous.len() && placed.iter().all(known) {
        return Arc::clone(previous);
    }
    let mut map = ServersByName::with_capacity_and_hasher(placed.len(), Default::default());
    // Servers of a service follow each other and share its name.
    for service in placed.chunk_by(|a, b| a.service.0 == b.service.0) {
        let Some(first) = service.first() else {
            continue;
        };
        let name: Arc<str> = first.service.1.name.as_str().into();
        let entry = |p: &Placed<'_>| ((Arc::clone(&name), p.server.name.as_str().into()), p.id);
        map.extend(service.iter().map(entry));
    }
    Arc::new(map)
}
