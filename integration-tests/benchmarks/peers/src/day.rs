//! A client whose day is measured: it does what each line on standard input asks for, durably, and says how long it took.
//!
//! Shared by both benchmark programs: each includes this file. Bytes are in hex, fields are separated by spaces. The answer is
//! `NANOSECONDS [HEX]`. The program ends with its input as if it were killed: nothing is closed.

use std::io::{BufRead, Write};
use std::time::Instant;

use openmls::group::GroupId;

use crate::hex::{from_hex, to_hex};
use crate::scenario::Result;

/// What a day asks of a client. Each call is durable when it returns.
pub(crate) trait Day {
    /// A key package, TLS-encoded as an `MLSMessage`.
    fn key_package(&mut self) -> Result<Vec<u8>>;
    fn join(&mut self, welcome: &[u8]) -> Result<GroupId>;
    /// Returns the ciphertext.
    fn send(&mut self, group: &GroupId, content: &[u8]) -> Result<Vec<u8>>;
    /// Takes in an application message, or a commit, which is merged; a commit of its own that waits gives way to it.
    fn receive(&mut self, group: &GroupId, message: &[u8]) -> Result<()>;
    /// Takes in what arrived while it was away, of several groups.
    fn receive_many(&mut self, messages: &[(GroupId, Vec<u8>)]) -> Result<()>;
    /// Renews its own keys by a commit that is not merged. Returns the commit.
    fn stage(&mut self, group: &GroupId) -> Result<Vec<u8>>;
    /// Merges that commit.
    fn confirm(&mut self, group: &GroupId) -> Result<()>;
    /// Drops it.
    fn reject(&mut self, group: &GroupId) -> Result<()>;
}

/// Serves until the input ends, and then ends the process.
pub(crate) fn serve(client: &mut impl Day) -> Result<()> {
    let mut output = std::io::stdout().lock();
    for line in std::io::stdin().lock().lines() {
        let line = line?;
        let mut fields = line.split(' ');
        let request = fields.next().unwrap_or_default();
        let bytes = fields.map(from_hex).collect::<Result<Vec<_>>>()?;
        let field = |at: usize| bytes.get(at).map(Vec::as_slice).ok_or("a field is missing");
        let group = || Ok::<_, &str>(GroupId::from_slice(field(0)?));
        let many: Vec<_> = match request {
            "many" => {
                bytes.as_chunks().0.iter().map(|[id, message]| (GroupId::from_slice(id), message.clone())).collect()
            }
            _ => Vec::new(),
        };
        let begun = Instant::now();
        let answer = match request {
            "key-package" => client.key_package()?,
            "join" => client.join(field(0)?)?.to_vec(),
            "send" => client.send(&group()?, field(1)?)?,
            "receive" => client.receive(&group()?, field(1)?).map(|()| Vec::new())?,
            "many" => client.receive_many(&many).map(|()| Vec::new())?,
            "stage" => client.stage(&group()?)?,
            "confirm" => client.confirm(&group()?).map(|()| Vec::new())?,
            "reject" => client.reject(&group()?).map(|()| Vec::new())?,
            other => return Err(format!("nothing is called {other}").into()),
        };
        let nanoseconds = begun.elapsed().as_nanos();
        writeln!(output, "{nanoseconds} {}", to_hex(&answer))?;
        output.flush()?;
    }
    std::process::exit(0)
}
