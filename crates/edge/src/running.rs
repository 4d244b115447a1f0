//! The threads: one core each, from start to drain.

use std::convert::Infallible;
use std::io;
use std::rc::Rc;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::thread::JoinHandle;
use std::time::Duration;

use model::errand::Errands;
use model::pool::Caller;
use tokio::net::TcpListener;
use tokio::runtime::{Builder, LocalOptions};
use tokio::sync::{mpsc, watch};

use crate::core::Core;
use crate::house::House;
use crate::internal::{self, Counter, Jobs};
use crate::listen::Seat;
use crate::{BindError, Bound, Secured, conn, pace};

/// What the cores are told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Order {
    /// Accept nothing yet; lifecycle requests are sent.
    Hold,
    Serve,
    /// Accept nothing more; close each connection after its current response.
    Drain,
    /// Leave now.
    Stop,
}

/// A data plane that serves. Dropping it stops it at once.
#[derive(Debug)]
pub struct Running {
    order: watch::Sender<Order>,
    /// Each core holds a sender until its last connection is gone.
    drained: mpsc::Receiver<Infallible>,
    threads: Vec<JoinHandle<()>>,
    house: Arc<House>,
    counter: Arc<Counter>,
    /// Each core holds one too.
    alive: Arc<()>,
}

/// Tells whoever watches whether every core serves.
#[derive(Debug, Clone)]
pub struct Pulse {
    alive: Weak<()>,
    cores: usize,
}

impl Pulse {
    /// Whether every core serves.
    pub fn is_whole(&self) -> bool {
        self.alive.strong_count() > self.cores
    }
}

impl std::fmt::Debug for Counter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Counter").finish_non_exhaustive()
    }
}

impl std::fmt::Debug for House {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("House").finish_non_exhaustive()
    }
}

/// What one core listens on.
type Ears = Vec<(std::net::TcpListener, u16, Option<Secured>)>;

pub(crate) fn start(house: &Arc<House>, sockets: Vec<Bound>, cores: usize) -> Result<Running, BindError> {
    let (order, orders) = watch::channel(Order::Hold);
    let (busy, drained) = mpsc::channel(1);
    let (counter, jobs) = Counter::new(cores);
    let mut running = Running { order, drained, threads: Vec::new(), house: house.clone(), counter, alive: Arc::new(()) };
    let mut ears: Vec<Ears> = (0..cores).map(|_| Vec::new()).collect();
    for bound in sockets {
        // There may be more sockets than cores, if they were handed over; none of them may go unheard.
        for (number, listener) in bound.listeners.into_iter().enumerate() {
            ears[number % cores].push((listener, bound.address.port(), bound.tls.clone()));
        }
    }
    for (number, (ears, jobs)) in ears.into_iter().zip(jobs).enumerate() {
        let (house, orders, busy, alive) = (house.clone(), orders.clone(), busy.clone(), running.alive.clone());
        let thread = std::thread::Builder::new()
            .name(format!("edge-{number}"))
            .spawn(move || {
                run(house, ears, jobs, orders, busy);
                drop(alive);
            })
            .map_err(BindError::System)?;
        running.threads.push(thread);
    }
    Ok(running)
}

/// What a core holds while it has connections.
type Busy = mpsc::Sender<Infallible>;

fn run(house: Arc<House>, ears: Ears, jobs: Jobs, orders: watch::Receiver<Order>, busy: Busy) {
    // A local runtime cannot change threads, so it is made here; if the system gives none, this core serves nothing and the others do.
    let mut builder = Builder::new_current_thread();
    builder.enable_all().event_interval(61).on_thread_park(pace::rest);
    let Ok(runtime) = builder.build_local(LocalOptions::default()) else { return };
    runtime.block_on(async move {
        let core = Core::new(house);
        let sweeper = core.clone();
        let sweep = tokio::task::spawn_local(async move {
            let watched = sweeper.clone();
            sweeper.sweep.run(move |now| watched.tidy(now)).await;
        });
        let attending = tokio::task::spawn_local(internal::attend(core.clone(), jobs));
        live(&core, ears, orders, busy).await;
        attending.abort();
        sweep.abort();
    });
    // Dropping the runtime ends what is left of tasks; a file that is being read elsewhere is not waited for.
}

/// Connections without a request stay open for so long before a draining core closes them.
const EASE: Duration = Duration::from_millis(500);

/// How often a draining core looks whether it is done.
const LOOK: Duration = Duration::from_millis(10);

async fn live(core: &Rc<Core>, mut ears: Ears, mut orders: watch::Receiver<Order>, busy: Busy) {
    let begun = orders.wait_for(|order| *order != Order::Hold).await.map_or(Order::Stop, |order| *order);
    if begun != Order::Serve {
        // Closed at once: nobody may wait for what will not be accepted.
        ears.clear();
    }
    let accepting: Vec<_> = ears
        .into_iter()
        .filter_map(|(listener, port, tls)| {
            let listener = TcpListener::from_std(listener).ok()?;
            Some(tokio::task::spawn_local(accept(core.clone(), listener, port, tls)))
        })
        .collect();
    let first = orders.wait_for(|order| *order != Order::Serve).await.map_or(Order::Stop, |order| *order);
    for task in accepting {
        task.abort();
        let _ = task.await;
    }
    if first == Order::Stop {
        return;
    }
    let emptied = async {
        // A client may be sending a request right now, on a connection that looks idle: closing it would lose that. Answers close it meanwhile.
        let _ = tokio::time::timeout(EASE, empty(core)).await;
        core.drain();
        empty(core).await;
    };
    tokio::select! {
        () = emptied => {}
        _ = orders.wait_for(|order| *order == Order::Stop) => return,
    }
    drop(busy);
    // Nobody from outside comes any more; instances that end may still be asked for `/_ah/stop`.
    let _ = orders.wait_for(|order| *order == Order::Stop).await;
}

async fn empty(core: &Core) {
    while !core.empty() {
        tokio::time::sleep(LOOK).await;
    }
}

async fn accept(core: Rc<Core>, listener: TcpListener, port: u16, tls: Option<Secured>) {
    loop {
        match listener.accept().await {
            Ok((socket, from)) => {
                // Too many connections: closing at once costs least, and says so to clients and load balancers alike.
                let Some(seat) = Seat::take(&core.house, from.ip()) else {
                    tracing::debug!(client = %from.ip(), "too many connections; one is closed at once");
                    continue;
                };
                let tls = tls.as_ref().map(|tls| tls.load_full());
                tokio::task::spawn_local(conn::serve(core.clone(), socket, from, port, tls, seat));
            }
            // Out of file descriptors: give the connections that are there time to end.
            Err(error) if !transient(&error) => {
                tracing::warn!(%error, "no connection can be accepted");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            Err(_) => {}
        }
    }
}

/// The connection, not the listener, is at fault.
fn transient(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset | io::ErrorKind::ConnectionRefused | io::ErrorKind::Interrupted
    )
}

impl Running {
    /// What tells whether every core serves.
    pub fn pulse(&self) -> Pulse {
        Pulse { alive: Arc::downgrade(&self.alive), cores: self.threads.len() }
    }

    /// Begins to accept connections.
    pub fn serve(&self) {
        self.order.send_if_modified(|order| {
            let held = *order == Order::Hold;
            if held {
                *order = Order::Serve;
            }
            held
        });
    }

    /// Reads the certificates again, for the connections that follow.
    ///
    /// # Errors
    /// If one cannot be used; then all stay as they are.
    pub fn renew(&self) -> Result<(), BindError> {
        let house = &self.house;
        let read = |(from, _): &(_, _)| crate::tls::configure(from, &house.options);
        let fresh: Vec<_> = house.secured.iter().map(read).collect::<Result<_, _>>()?;
        for ((_, place), config) in house.secured.iter().zip(fresh) {
            place.store(config);
        }
        Ok(())
    }

    /// Stops accepting and lets requests in flight end within `grace`. Lifecycle requests go on, and what is left of others, until this is dropped.
    pub async fn close(&mut self, grace: Duration) {
        self.house.draining.store(true, Ordering::Relaxed);
        self.order.send_replace(Order::Drain);
        let _ = tokio::time::timeout(grace, self.drained.recv()).await;
    }

    /// Stops accepting, lets requests in flight end within `grace`, then closes what is left. Afterwards no thread and no task remains.
    pub async fn drain(mut self, grace: Duration) {
        self.close(grace).await;
        self.stop();
    }

    /// Sends lifecycle requests to instances for as long as this runs.
    pub fn caller(&self) -> Arc<dyn Caller> {
        self.counter.clone()
    }

    /// Sends requests of the house's own the way of any request, for as long as this runs.
    pub fn errands(&self) -> Arc<dyn Errands> {
        self.counter.clone()
    }

    /// Whether every core still serves.
    pub fn is_whole(&self) -> bool {
        self.threads.iter().all(|thread| !thread.is_finished())
    }

    fn stop(&mut self) {
        self.order.send_replace(Order::Stop);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop();
    }
}
