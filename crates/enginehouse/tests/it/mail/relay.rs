//! A mail server of somebody else: it takes what is sent, but for recipients whose names say otherwise.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, Sender, channel};

use testkit::DEADLINE;

/// What came.
#[derive(Debug)]
pub(crate) struct Delivered {
    pub(crate) from: String,
    pub(crate) to: Vec<String>,
    pub(crate) message: String,
    pub(crate) login: Option<String>,
}

/// The server, until it is dropped.
pub(crate) struct Relay {
    pub(crate) address: SocketAddr,
    came: Receiver<Delivered>,
}

impl Relay {
    pub(crate) fn start() -> Self {
        Self::on(TcpListener::bind("127.0.0.1:0").expect("a port"))
    }

    /// Where somebody listens already: a port that is let go of may be another's at once.
    pub(crate) fn on(listener: TcpListener) -> Self {
        let address = listener.local_addr().expect("an address");
        let (sender, came) = channel();
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let sender = sender.clone();
                std::thread::spawn(move || serve(stream, &sender));
            }
        });
        Self { address, came }
    }

    #[track_caller]
    pub(crate) fn next(&self) -> Delivered {
        self.came.recv_timeout(DEADLINE).expect("a message comes")
    }
}

fn serve(stream: TcpStream, sender: &Sender<Delivered>) -> Option<()> {
    let mut out = stream.try_clone().ok()?;
    let mut lines = BufReader::new(stream).lines().map_while(Result::ok);
    let mut say = move |text: &str| out.write_all(format!("{text}\r\n").as_bytes()).ok();
    let (mut from, mut to, mut login) = (String::new(), Vec::new(), None);
    say("220 there ESMTP")?;
    while let Some(line) = lines.next() {
        let inside = line.split(['<', '>']).nth(1).unwrap_or_default().to_owned();
        match line.split([' ', ':']).next().unwrap_or_default() {
            "EHLO" => say("250-there\r\n250-AUTH LOGIN PLAIN\r\n250 8BITMIME")?,
            "AUTH" => {
                login = line.split(' ').nth(2).map(str::to_owned);
                say("235 welcome")?;
            }
            "MAIL" => {
                from = inside;
                say("250 fine")?;
            }
            "RCPT" if inside.starts_with("refused") => say("550 5.1.1 nobody here")?,
            "RCPT" => {
                to.push(inside);
                say("250 fine")?;
            }
            "DATA" => {
                say("354 go on")?;
                let message: Vec<String> = lines.by_ref().take_while(|line| line != ".").collect();
                say("250 taken")?;
                let message = message.join("\n");
                sender.send(Delivered { from: from.clone(), to: std::mem::take(&mut to), message, login: login.clone() }).ok()?;
            }
            "QUIT" => return say("221 bye"),
            _ => say("502 what?")?,
        }
    }
    Some(())
}
