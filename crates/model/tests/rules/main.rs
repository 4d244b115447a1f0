//! The rules, driven from outside as the front end drives them.

mod aim;
mod asset;
mod cases;
mod environ;
mod estate;
mod explain;
mod fixture;
mod gate;
mod request;
mod response;
