//! [`Oracle`]: what must be there after a crash.

use std::path::Path;
use std::time::{Duration, Instant};

use mls_keep::ErrorKind;
use mls_keep_core::RecordRange;

use super::{Action, MAIN, Pair, Who};
use crate::adapter::Adapter;
use crate::observe::secret;
use crate::random::Random;

/// What must be there after a crash: what children acknowledged.
#[derive(Clone, Debug, Default)]
pub struct Oracle {
    /// The number of actions that were acknowledged.
    pub acknowledged: usize,
    created: [bool; 2],
    sent: [Vec<String>; 2],
    received: [Vec<String>; 2],
    epoch: [u64; 2],
}

impl Oracle {
    /// An action that a child has said to have done.
    ///
    /// # Panics
    /// If `action` is none.
    pub fn acknowledge(&mut self, action: &str) {
        self.acknowledged += 1;
        let words: Vec<_> = action.split(' ').collect();
        let who = usize::from(words.get(1) == Some(&"bob"));
        match words.as_slice() {
            ["create", _] => self.created[who] = true,
            ["send", _, MAIN, text] => self.sent[who].push((*text).to_owned()),
            ["receive", _, MAIN, text] => self.received[who].push((*text).to_owned()),
            ["update", _, epoch] => self.epoch[who] = epoch.parse().unwrap(),
            _ => {}
        }
    }

    /// Opens the pair in `directory` and asserts that all that was acknowledged is there, that `in_flight` was done whole
    /// or not at all, and that both go on to understand each other. Then remembers what both have now.
    ///
    /// # Panics
    /// If something is missing, twice, or does not work.
    pub async fn check(&mut self, adapter: Adapter, directory: &Path, in_flight: Option<&str>, random: &mut Random) {
        let case = format!("killed in {in_flight:?}");
        let opened = Instant::now();
        let mut pair = Pair::open(adapter, directory).await.unwrap_or_else(|error| panic!("{case}: {error:?}"));
        assert!(opened.elapsed() < Duration::from_secs(2), "{case}: opening took {:?}", opened.elapsed());
        for who in Who::BOTH {
            self.check_one(&case, in_flight, &mut pair, who).await;
        }
        while !pair.is_set_up().await.unwrap() {
            let action = pair.choose(random).await.unwrap();
            pair.perform(&action).await.unwrap_or_else(|error| panic!("{case}: then {action}: {error:?}"));
        }
        pair.deliver_all().await.unwrap_or_else(|error| panic!("{case}: {error:?}"));
        self.repeat(&case, in_flight, &mut pair).await;
        for who in Who::BOTH {
            let action = Action::Send(who, MAIN.into(), pair.next_text(who));
            pair.perform(&action).await.unwrap_or_else(|error| panic!("{case}: {error:?}"));
            pair.deliver_all().await.unwrap_or_else(|error| panic!("{case}: {error:?}"));
        }
        self.remember(&case, &mut pair).await;
        for who in Who::BOTH {
            pair.member(who).unwrap().manager.close().await.unwrap();
        }
    }

    async fn check_one(&self, case: &str, in_flight: Option<&str>, pair: &mut Pair, who: Who) {
        let history = pair.history(who).await.unwrap();
        let texts = |own: bool| -> Vec<_> {
            let wanted = history.iter().filter(|message| message.own == own);
            wanted.map(|message| String::from_utf8(message.content.clone()).unwrap()).collect()
        };
        let (sent, received) = (texts(true), texts(false));
        assert!(sent.starts_with(&self.sent[who as usize]), "{case}: a sent message is missing");
        assert!(received.starts_with(&self.received[who as usize]), "{case}: a received message is missing");
        let more = (sent.len() - self.sent[who as usize].len(), received.len() - self.received[who as usize].len());
        let sending = in_flight.is_some_and(|action| action.starts_with(&format!("send {} main", who.name())));
        let receiving = in_flight == Some(&format!("receive {}", who.name()));
        assert!(more.0 <= usize::from(sending) && more.1 <= usize::from(receiving), "{case}: {more:?} too many");

        let epoch = self.epoch[who as usize];
        let main = pair.id(who, MAIN).await.ok();
        let Some(member) = pair.member(who) else {
            assert!(!self.created[who as usize], "{case}: the client is missing");
            return;
        };
        if let Some(main) = main {
            assert!(member.client.group(&main).await.unwrap().epoch >= epoch, "{case}: the group went back");
        }
        let store = member.client.store().unwrap();
        let found = store.verify(&mut |_| ()).await.unwrap();
        assert!(found.is_sound() && found.statistics.orphans == 0, "{case}: {found:?}");
        for scope in store.scopes().await.unwrap().iter().filter(|scope| scope.group_id().is_some()) {
            let records = store.records(scope, &RecordRange::all()).await.unwrap();
            let count = |kind| records.iter().filter(|record| record.key[0] == kind).count();
            // OpenMLS's numbers of provider/record_key.rs: the key pairs of the epoch, and those of nothing.
            assert_eq!((count(0x1c), count(0x1d)), (1, 0), "{case}: key pairs of a group");
        }
    }

    /// What was under way can be done, or was.
    async fn repeat(&self, case: &str, in_flight: Option<&str>, pair: &mut Pair) {
        let words: Vec<_> = in_flight.unwrap_or_default().split(' ').collect();
        let who = if words.get(1) == Some(&"bob") { Who::Bob } else { Who::Alice };
        match words.as_slice() {
            ["send", _, MAIN, text] => {
                let history = pair.history(who).await.unwrap();
                if !history.iter().any(|message| message.content == text.as_bytes()) {
                    let action = Action::Send(who, MAIN.into(), pair.next_text(who));
                    pair.perform(&action).await.unwrap_or_else(|error| panic!("{case}: {error:?}"));
                }
            }
            ["update", _, _] => {
                pair.perform(&Action::Update(who, 0)).await.unwrap();
            }
            ["create", _] => {
                let member = pair.member(who).unwrap();
                let again = member.manager.load_client_state(who.name()).await;
                assert!(again.is_ok(), "{case}: {again:?}");
                let error = member.manager.load_client_state("nobody").await.unwrap_err();
                assert_eq!(error.kind(), ErrorKind::NotFound);
            }
            _ => {}
        }
        pair.deliver_all().await.unwrap_or_else(|error| panic!("{case}: {error:?}"));
    }

    /// Both agree; what they have now must be there after the next kill.
    async fn remember(&mut self, case: &str, pair: &mut Pair) {
        let mut secrets = Vec::new();
        for who in Who::BOTH {
            let main = pair.id(who, MAIN).await.unwrap();
            let client = &mut pair.member(who).unwrap().client;
            self.epoch[who as usize] = client.group(&main).await.unwrap().epoch;
            secrets.push(secret(client, &main).await.unwrap());
            let history = pair.history(who).await.unwrap();
            for (own, texts) in [(true, &mut self.sent), (false, &mut self.received)] {
                let wanted = history.iter().filter(|message| message.own == own);
                texts[who as usize] =
                    wanted.map(|message| String::from_utf8(message.content.clone()).unwrap()).collect();
            }
        }
        assert_eq!(self.epoch[0], self.epoch[1], "{case}");
        assert_eq!(secrets[0], secrets[1], "{case}: the group is a fork");
        for who in 0..2 {
            let sorted = |texts: &[String]| {
                let mut texts = texts.to_vec();
                texts.sort();
                texts
            };
            // All that one sent arrived at the other, once.
            assert_eq!(sorted(&self.sent[who]), sorted(&self.received[1 - who]), "{case}");
            let twice = sorted(&self.sent[who]).windows(2).find(|pair| pair[0] == pair[1]).map(<[_]>::to_vec);
            assert_eq!(twice, None, "{case}: sent twice");
        }
    }
}
