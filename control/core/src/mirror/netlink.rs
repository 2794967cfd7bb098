//! Keeps the mirror in step with the kernel: one dump, then its announcements (RFC 3549).
//!
//! The kernel drops announcements when they come faster than they are read, and says so; then
//! everything is dumped anew. Next hops of servers and gateways are entered as managed
//! neighbours, which the kernel keeps resolved by itself; a kernel that does not know such is
//! asked every few seconds.

use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::TryStreamExt;
use netlink_packet_core::{NLM_F_REPLACE, NetlinkBuffer, NetlinkMessage, NetlinkPayload};
use netlink_packet_route::neighbour::{
    NeighbourAttribute, NeighbourExtFlags, NeighbourFlags, NeighbourState,
};
use netlink_packet_route::route::RouteMessage;
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use netlink_sys::{AsyncSocket, AsyncSocketExt, SocketAddr, TokioSocket, protocols::NETLINK_ROUTE};
use rtnetlink::Handle;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use weir_engine::id::PortId;
use weir_engine::tables::Map;

use super::Mirror;
use super::model::{Interfaces, Model};

/// Multicast groups: links, neighbours, IPv4 addresses and routes, IPv6 addresses and routes.
const GROUPS: [u32; 6] = [1, 3, 5, 7, 9, 11];
/// Octets of announcements that the kernel may keep for us: some 10,000 routes.
const BUFFER_LEN: usize = 4 << 20;
/// Announcements are collected for so long before the view changes.
const SETTLE: Duration = Duration::from_millis(5);
/// How often neighbours are asked for that the kernel does not manage.
const REFRESH: Duration = Duration::from_secs(5);
/// Orders to the kernel that may wait; more are dropped, and come again.
const ORDERS_MAX: usize = 1024;
/// ENOBUFS: announcements were lost.
const OVERRUN: i32 = 105;

/// What the kernel says now.
#[derive(Clone, Debug, Default)]
pub struct View {
    /// Addresses, routes and neighbours.
    pub mirror: Mirror,
    /// Carrier of ports that a netdev backs.
    pub carriers: Map<PortId, bool>,
    /// How often everything was dumped: 1 after start, more after overruns.
    pub dumps: u64,
}

/// An order to the neighbour table.
#[derive(Debug)]
enum Order {
    /// Keep these resolved, and no others.
    Keep(Arc<Vec<(PortId, IpAddr)>>),
    /// Resolve this one now.
    Resolve(u32, IpAddr),
}

/// The mirror's tasks; they end when this is dropped.
#[derive(Debug)]
pub struct Netlink {
    handle: Handle,
    view: watch::Receiver<View>,
    orders: mpsc::Sender<Order>,
    tasks: Vec<JoinHandle<()>>,
}

impl Netlink {
    /// Subscribes, dumps everything once, and keeps at it in tasks of the current runtime.
    ///
    /// # Errors
    /// The kernel's, if the sockets cannot be made or the first dump fails.
    pub async fn start(interfaces: Interfaces) -> io::Result<Self> {
        let (connection, handle, _) = rtnetlink::new_connection()?;
        let mut tasks = vec![tokio::spawn(connection)];
        let taps = interfaces.taps.iter().map(|(index, port)| (*port, *index));
        let taps: Map<PortId, u32> = taps.collect();
        // Subscribed before the dump, so that nothing falls between the two.
        let socket = subscribe()?;
        let mut model = Model::new(interfaces);
        dump(&handle, &mut model).await?;
        let first = View {
            mirror: model.snapshot(),
            carriers: model.carriers().clone(),
            dumps: 1,
        };
        let (sender, view) = watch::channel(first);
        tasks.push(tokio::spawn(follow(handle.clone(), socket, model, sender)));
        let (orders, inbox) = mpsc::channel(ORDERS_MAX);
        tasks.push(tokio::spawn(keep_neighbours(handle.clone(), taps, inbox)));
        Ok(Self {
            handle,
            view,
            orders,
            tasks,
        })
    }

    /// For requests of one's own: addresses, routes.
    pub fn handle(&self) -> &Handle {
        &self.handle
    }

    /// What the kernel says now, and a way to await changes.
    pub fn view(&self) -> watch::Receiver<View> {
        self.view.clone()
    }

    /// Has the kernel keep these neighbours resolved, which are in order and each once; entries of
    /// an earlier call that are missing here are removed. Returns whether there was room for the
    /// order.
    pub fn keep(&self, neighbours: Arc<Vec<(PortId, IpAddr)>>) -> bool {
        self.orders.try_send(Order::Keep(neighbours)).is_ok()
    }

    /// Has the kernel resolve a neighbour now. Returns whether there was room for the order.
    pub fn resolve(&self, interface: u32, address: IpAddr) -> bool {
        self.orders
            .try_send(Order::Resolve(interface, address))
            .is_ok()
    }
}

impl Drop for Netlink {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

fn subscribe() -> io::Result<TokioSocket> {
    let mut socket = TokioSocket::new(NETLINK_ROUTE)?;
    let inner = socket.socket_mut();
    inner.set_rx_buf_sz(BUFFER_LEN)?;
    inner.bind(&SocketAddr::new(0, 0))?;
    for group in GROUPS {
        inner.add_membership(group)?;
    }
    Ok(socket)
}

/// Fills an empty model with all that the kernel knows.
async fn dump(handle: &Handle, model: &mut Model) -> io::Result<()> {
    model.clear();
    let mut links = handle.link().get().execute();
    while let Some(link) = links.try_next().await.map_err(io::Error::other)? {
        model.apply(&RouteNetlinkMessage::NewLink(link), false);
    }
    let mut addresses = handle.address().get().execute();
    while let Some(address) = addresses.try_next().await.map_err(io::Error::other)? {
        model.apply(&RouteNetlinkMessage::NewAddress(address), false);
    }
    for family in [AddressFamily::Inet, AddressFamily::Inet6] {
        let mut request = RouteMessage::default();
        request.header.address_family = family;
        let mut routes = handle.route().get(request).execute();
        while let Some(route) = routes.try_next().await.map_err(io::Error::other)? {
            model.apply(&RouteNetlinkMessage::NewRoute(route), false);
        }
    }
    let mut neighbours = handle.neighbours().get().execute();
    while let Some(neighbour) = neighbours.try_next().await.map_err(io::Error::other)? {
        model.apply(&RouteNetlinkMessage::NewNeighbour(neighbour), false);
    }
    Ok(())
}

/// Applies announcements until nobody looks any more.
async fn follow(handle: Handle, socket: TokioSocket, mut model: Model, view: watch::Sender<View>) {
    let mut dumps = 1;
    loop {
        let changed = match socket.recv_from_full().await {
            Ok((bytes, _)) => {
                apply_all(&mut model, &bytes);
                settle(&socket, &mut model).await
            }
            Err(error) => Err(error),
        };
        if let Err(error) = changed {
            tracing::warn!(%error, "netlink announcements were lost: reading everything anew");
            if error.raw_os_error() != Some(OVERRUN) {
                // Anything else is not ours to cure quickly; do not spin on it.
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
            if let Err(error) = dump(&handle, &mut model).await {
                tracing::error!(%error, "netlink dump failed: routes and neighbours are stale");
                continue;
            }
            dumps += 1;
        }
        let carriers = model.carriers().clone();
        let next = View {
            mirror: model.snapshot(),
            carriers,
            dumps,
        };
        if view.send(next).is_err() {
            return;
        }
    }
}

/// Takes in what comes within a moment, so that a burst changes the view once.
async fn settle(socket: &TokioSocket, model: &mut Model) -> io::Result<()> {
    let until = tokio::time::Instant::now() + SETTLE;
    while let Ok(received) = tokio::time::timeout_at(until, socket.recv_from_full()).await {
        apply_all(model, &received?.0);
    }
    Ok(())
}

/// Applies every message of one datagram; what cannot be read is skipped.
fn apply_all(model: &mut Model, mut bytes: &[u8]) {
    while let Ok(buffer) = NetlinkBuffer::new_checked(bytes) {
        let len = buffer.length() as usize;
        let message = bytes
            .get(..len)
            .map(NetlinkMessage::<RouteNetlinkMessage>::deserialize);
        if let Some(Ok(message)) = message
            && let NetlinkPayload::InnerMessage(inner) = &message.payload
        {
            model.apply(inner, message.header.flags & NLM_F_REPLACE != 0);
        }
        // Messages are aligned to four octets.
        match bytes.get(len.next_multiple_of(4).max(16)..) {
            Some(rest) => bytes = rest,
            None => return,
        }
    }
}

/// Carries out orders to the neighbour table, one after the other.
async fn keep_neighbours(
    handle: Handle,
    taps: Map<PortId, u32>,
    mut orders: mpsc::Receiver<Order>,
) {
    let mut kept: Arc<Vec<(PortId, IpAddr)>> = Arc::default();
    let mut managed = true;
    let mut refresh = tokio::time::interval(REFRESH);
    let interface = |port: &PortId| taps.get(port).copied();
    loop {
        tokio::select! {
            order = orders.recv() => match order {
                None => return,
                Some(Order::Resolve(interface, address)) => {
                    ask(&handle, interface, address).await;
                }
                Some(Order::Keep(wanted)) => {
                    for (port, address) in beyond(&kept, &wanted) {
                        let Some(interface) = interface(port) else { continue };
                        forget(&handle, (interface, *address)).await;
                    }
                    for (port, address) in beyond(&wanted, &kept) {
                        let Some(interface) = interface(port) else { continue };
                        managed = managed && manage(&handle, interface, *address).await;
                        if !managed {
                            ask(&handle, interface, *address).await;
                        }
                    }
                    kept = wanted;
                }
            },
            _ = refresh.tick(), if !managed => {
                for (port, address) in kept.iter() {
                    let Some(interface) = interface(port) else { continue };
                    ask(&handle, interface, *address).await;
                }
            }
        }
    }
}

/// What is in `these` and not in `those`; both are in order.
fn beyond<'a, T: Ord>(these: &'a [T], those: &'a [T]) -> impl Iterator<Item = &'a T> {
    let mut those = those.iter().peekable();
    these.iter().filter(move |this| {
        while those.next_if(|that| that < this).is_some() {}
        those.peek() != Some(this)
    })
}

/// Enters a managed neighbour; `false` if the kernel (before 5.16) does not know such.
async fn manage(handle: &Handle, interface: u32, address: IpAddr) -> bool {
    let mut request = handle.neighbours().add(interface, address).replace();
    let message = request.message_mut();
    message.header.state = NeighbourState::None;
    message
        .attributes
        .retain(|a| !matches!(a, NeighbourAttribute::LinkLayerAddress(_)));
    message
        .attributes
        .push(NeighbourAttribute::ExtFlags(NeighbourExtFlags::Managed));
    match request.execute().await {
        Ok(()) => true,
        Err(error) => {
            tracing::debug!(%address, %error, "no managed neighbour: asking from time to time");
            false
        }
    }
}

/// Has the kernel ask for a neighbour, as if it had a packet for it.
async fn ask(handle: &Handle, interface: u32, address: IpAddr) {
    let mut request = handle.neighbours().add(interface, address).replace();
    let message = request.message_mut();
    message.header.state = NeighbourState::None;
    message.header.flags = NeighbourFlags::Use;
    message
        .attributes
        .retain(|a| !matches!(a, NeighbourAttribute::LinkLayerAddress(_)));
    if let Err(error) = request.execute().await {
        tracing::debug!(%address, %error, "the kernel would not ask for a neighbour");
    }
}

/// Removes a neighbour that nothing needs any more.
async fn forget(handle: &Handle, (interface, address): (u32, IpAddr)) {
    let mut request = handle.neighbours().add(interface, address);
    let message = request.message_mut().clone();
    // It may be gone already, or its interface with it.
    let _ = handle.neighbours().del(message).execute().await;
}

#[cfg(test)]
mod tests;
