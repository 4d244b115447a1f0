//! The bundled services of this process: one thread that answers the API calls of all instances.

use std::io;
use std::sync::Arc;

use model::rpc::Doors;
use services::capability::Capabilities;
use services::memcache::Memcache;
use services::registry::Registry;
use services::server::{Admission, House};
use services::user::Users;

/// Bytes that memcache keeps for each app: what App Engine's shared memcache gives in practice is not documented; this is memcached's default.
const MEMCACHE: usize = 64 << 20;

/// Starts the thread. It ends with the process: nothing in it needs to be finished.
///
/// # Errors
/// If the system gives no thread.
pub(crate) fn start() -> io::Result<Arc<dyn Doors>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let handle = runtime.handle().clone();
    std::thread::Builder::new().name("services".into()).spawn(move || runtime.block_on(std::future::pending::<()>()))?;
    let registry =
        Registry::default().with(Arc::new(Memcache::new(MEMCACHE))).with(Arc::new(Users)).with(Arc::new(Capabilities::default()));
    Ok(Arc::new(House::new(registry, Admission::Tickets, handle)))
}
