//! What happens on a day, the same for every client.

use crate::client::Client;
use crate::counterpart::Counterpart;
use crate::{Options, Result};

/// The length of a message, bytes: a short line of text.
const MESSAGE: &[u8] = b"At five, at the usual place. Bring the papers!";

/// Messages for each commit.
const MESSAGES_PER_COMMIT: usize = 25;

/// A group: its id, and the member who talks with the client.
struct Group {
    id: Vec<u8>,
    other: Counterpart,
}

pub(crate) fn live(options: &Options, client: &mut Client) -> Result<()> {
    let mut random = Random(options.seed);
    let mut groups = Vec::with_capacity(options.groups);
    for number in 0..options.groups {
        let mut other = Counterpart::with_group(members(options, number) - 1)?;
        let key_package = client.ask("make a key package", "key-package", &[])?;
        let id = client.ask("join", "join", &[&other.add(&key_package)?])?;
        groups.push(Group { id, other });
    }
    let until_restart = (options.messages / (options.restarts + 1)).max(1);
    for message in 1..=options.messages {
        let group = random.one_of(&mut groups)?;
        if random.below(5) < 2 {
            let sent = client.ask("send", "send", &[&group.id, MESSAGE])?;
            // A key that was used twice would be refused.
            if group.other.hear(&sent)? != MESSAGE {
                return Err("what was sent says something else".into());
            }
        } else {
            let arriving = group.other.send(MESSAGE)?;
            client.ask("receive", "receive", &[&group.id, &arriving])?;
        }
        if message.is_multiple_of(MESSAGES_PER_COMMIT) {
            let way = random.below(3);
            commit(client, random.one_of(&mut groups)?, way)?;
        }
        if message.is_multiple_of(until_restart) {
            client.stop()?;
        }
    }
    for group in &mut groups {
        let arriving = group.other.send(MESSAGE)?;
        client.ask_alone("one message in a process of its own", "receive", &[&group.id, &arriving])?;
    }
    for request in ["receive", "many"] {
        client.stop()?;
        let arrived = arrive(options.away, &mut groups, &mut random)?;
        catch_up(client, request, ["catch up, one by one", "catch up"], &arrived)?;
        client.stop()?;
        let group = random.one_of(&mut groups)?;
        let arrived = arrive(options.away, std::slice::from_mut(group), &mut random)?;
        catch_up(client, request, ["catch up, one by one, one group", "catch up, one group"], &arrived)?;
    }
    Ok(())
}

/// Two members commit, in one of three ways: only the client, only the other one, or both, and the other one is faster.
fn commit(client: &mut Client, group: &mut Group, way: usize) -> Result<()> {
    if way > 0 {
        if way == 2 {
            client.ask("stage", "stage", &[&group.id])?;
        }
        let arriving = group.other.commit()?;
        client.ask("receive a commit", "receive", &[&group.id, &arriving])?;
    }
    if way != 1 {
        let staged = client.ask("stage", "stage", &[&group.id])?;
        group.other.receive(&staged)?;
        client.ask("confirm", "confirm", &[&group.id])?;
    }
    Ok(())
}

/// What arrives while the client is away, of all groups in turn.
fn arrive(count: usize, groups: &mut [Group], random: &mut Random) -> Result<Vec<(Vec<u8>, Vec<u8>)>> {
    let mut arrived = Vec::with_capacity(count);
    for _ in 0..count {
        let group = random.one_of(groups)?;
        arrived.push((group.id.clone(), group.other.send(MESSAGE)?));
    }
    Ok(arrived)
}

fn catch_up(
    client: &mut Client,
    request: &str,
    names: [&'static str; 2],
    arrived: &[(Vec<u8>, Vec<u8>)],
) -> Result<()> {
    let [one_by_one, many] = names;
    if request == "many" {
        let fields: Vec<&[u8]> = arrived.iter().flat_map(|(id, message)| [id.as_slice(), message.as_slice()]).collect();
        client.ask(many, request, &fields)?;
        return Ok(());
    }
    for (id, message) in arrived {
        client.ask(one_by_one, request, &[id, message])?;
    }
    Ok(())
}

/// Of 2 to the most, evenly by ratio.
fn members(options: &Options, number: usize) -> usize {
    let part = number as f64 / (options.groups - 1).max(1) as f64;
    (2.0 * (options.members as f64 / 2.0).powf(part)).round() as usize
}

struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((bits ^ (bits >> 31)) % end as u64) as usize
    }

    fn one_of<'a>(&mut self, groups: &'a mut [Group]) -> Result<&'a mut Group> {
        let number = self.below(groups.len());
        Ok(groups.get_mut(number).ok_or("there is no group")?)
    }
}
