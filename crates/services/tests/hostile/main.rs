//! Hostile input (row M4): whatever comes in, the answer is a clear `rpc_error`, nothing leaks and nothing crashes. Over sockets in `sockets`, and for
//! every committed input of the fuzz targets, and what becomes of it by mutation, in `corpus`. `every` goes through all methods of all services.

mod corpus;
mod every;
mod samples;
mod sockets;
mod targets;
