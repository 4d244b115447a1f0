//! What the system knows of this process, under the names that Prometheus clients agree on.

use std::fs;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::text::Page;

/// When the process started: first asked soon after.
pub(super) fn start() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64()
}

/// Writes them; what cannot be read is left out.
pub(super) fn write(page: &mut Page, started: f64) {
    let cpu = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    let seconds = Duration::new(cpu.tv_sec.try_into().unwrap_or(0), cpu.tv_nsec.try_into().unwrap_or(0)).as_secs_f64();
    page.metric("process_cpu_seconds_total", "counter", "Processor time of the house itself, without instances.");
    page.sample("process_cpu_seconds_total", &[], seconds);
    page.metric("process_start_time_seconds", "gauge", "When the house started, in seconds since 1970.");
    page.sample("process_start_time_seconds", &[], started);
    let statm = fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let mut pages = statm.split(' ').map(|number| number.parse::<u64>().unwrap_or(0) * rustix::param::page_size() as u64);
    if let (Some(size), Some(resident)) = (pages.next(), pages.next()) {
        page.metric("process_virtual_memory_bytes", "gauge", "Address space.");
        page.sample("process_virtual_memory_bytes", &[], size);
        page.metric("process_resident_memory_bytes", "gauge", "Memory in use.");
        page.sample("process_resident_memory_bytes", &[], resident);
    }
    if let Ok(open) = fs::read_dir("/proc/self/fd") {
        page.metric("process_open_fds", "gauge", "Open files and sockets.");
        page.sample("process_open_fds", &[], open.count());
    }
    if let Ok(threads) = fs::read_dir("/proc/self/task") {
        page.metric("process_threads", "gauge", "Threads.");
        page.sample("process_threads", &[], threads.count());
    }
}
