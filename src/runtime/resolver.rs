//! Names to addresses without waiting: the system's resolver may take half a minute, so it is asked on cold threads.

use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs as _};

use crossbeam_channel::{Receiver, Sender, bounded};

use super::park::Bell;

/// Questions and answers that may wait. Each name is asked once at a time, so this is how many names a process may connect to.
const QUESTIONS_MAX: usize = 1024;
/// The most threads: so many names may hang at a time before one waits for another.
const THREADS_MAX: usize = 8;

/// A host and a port, as they are configured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Name {
    /// A name of the domain name system, or of the machine's own table.
    pub host: String,
    /// The TCP port.
    pub port: u16,
}

/// What became of a question.
#[derive(Debug)]
pub struct Answer {
    /// What was asked for.
    pub name: Name,
    /// Its addresses, in the order in which the system would have them tried.
    pub addresses: io::Result<Vec<SocketAddr>>,
}

/// A stage's end: asks and never waits.
pub struct Resolver {
    questions: Sender<Name>,
    answers: Receiver<Answer>,
    /// Asked and not yet answered.
    asked: Vec<Name>,
}

/// The other end, which answers.
#[derive(Clone)]
pub struct Oracle {
    questions: Receiver<Name>,
    answers: Sender<Answer>,
    bell: Bell,
}

impl Resolver {
    /// The two ends; `bell` is that of the stage's core.
    pub fn pair(bell: Bell) -> (Self, Oracle) {
        let (questions, questions_rx) = bounded(QUESTIONS_MAX);
        let (answers_tx, answers) = bounded(QUESTIONS_MAX);
        (
            Self { questions, answers, asked: Vec::new() },
            Oracle { questions: questions_rx, answers: answers_tx, bell },
        )
    }

    /// A resolver that asks the system, with a thread for each of so many names (8 at the most), so that one that hangs holds up no
    /// other. The threads end with it.
    ///
    /// # Errors
    /// Where no thread can be had.
    pub fn spawn(names: usize, bell: Bell) -> io::Result<Self> {
        let (resolver, oracle) = Self::pair(bell);
        for _ in 0..names.clamp(1, THREADS_MAX) {
            let oracle = oracle.clone();
            std::thread::Builder::new()
                .name("resolver".to_owned())
                .spawn(move || while oracle.answer_next(look_up) {})?;
        }
        Ok(resolver)
    }

    /// Asks for a name's addresses, unless that question is open already. `false` where too many are.
    pub fn ask(&mut self, name: &Name) -> bool {
        if self.asked.contains(name) {
            return true;
        }
        let asked = self.questions.try_send(name.clone()).is_ok();
        if asked {
            self.asked.push(name.clone());
        }
        asked
    }

    /// The next answer, for everyone who waits for this name.
    pub fn next_answer(&mut self) -> Option<Answer> {
        let answer = self.answers.try_recv().ok()?;
        self.asked.retain(|asked| *asked != answer.name);
        Some(answer)
    }

    /// Whether there is an answer.
    pub fn has_news(&self) -> bool {
        !self.answers.is_empty()
    }
}

impl Oracle {
    /// Waits for a question and answers it; `false` once nobody will ask any more.
    pub fn answer_next(&self, look_up: impl FnOnce(&Name) -> io::Result<Vec<SocketAddr>>) -> bool {
        let Ok(name) = self.questions.recv() else { return false };
        let addresses = look_up(&name);
        let heard = self.answers.send(Answer { name, addresses }).is_ok();
        self.bell.ring();
        heard
    }
}

/// The address that a host is already, if it is one; an IPv6 one may stand in brackets.
pub fn literal(host: &str) -> Option<IpAddr> {
    let bare = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host);
    bare.parse().ok()
}

fn look_up(name: &Name) -> io::Result<Vec<SocketAddr>> {
    (name.host.as_str(), name.port).to_socket_addrs().map(Iterator::collect)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(host: &str) -> Name {
        Name { host: host.to_owned(), port: 443 }
    }

    #[test]
    fn a_name_is_asked_once_at_a_time_and_its_answer_is_for_all() {
        let (mut resolver, oracle) = Resolver::pair(Bell::silent());
        assert!(resolver.ask(&name("a")) && resolver.ask(&name("a")) && resolver.ask(&name("b")));
        assert!(resolver.next_answer().is_none());
        for _ in 0..2 {
            assert!(oracle.answer_next(|_| Ok(vec![SocketAddr::from(([127, 0, 0, 1], 443))])));
        }
        assert!(resolver.has_news());
        assert_eq!(resolver.next_answer().unwrap().name, name("a"));
        assert_eq!(resolver.next_answer().unwrap().name, name("b"));
        assert!(resolver.next_answer().is_none() && oracle.questions.is_empty());
        assert!(resolver.ask(&name("a")), "an answered name can be asked again");
        drop(resolver);
        assert!(oracle.answer_next(|_| Err(io::ErrorKind::NotFound.into())) || oracle.questions.is_empty());
    }

    #[test]
    fn the_machine_knows_itself() {
        let mut resolver = Resolver::spawn(1, Bell::silent()).unwrap();
        assert!(resolver.ask(&name("localhost")));
        let answer = resolver.answers.recv().unwrap();
        assert!(answer.addresses.unwrap().iter().all(|addr| addr.ip().is_loopback() && addr.port() == 443));
    }

    #[test]
    fn an_address_is_no_name() {
        assert_eq!(literal("127.0.0.1"), Some(IpAddr::from([127, 0, 0, 1])));
        assert_eq!(literal("[::1]"), literal("::1"));
        assert!(literal("::1").is_some() && literal("socket.example").is_none());
    }
}
