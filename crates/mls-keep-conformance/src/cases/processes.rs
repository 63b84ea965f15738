//! Several processes with one store: the test program is started again for the others.

use mls_keep_core::ErrorKind;

use crate::child::{Child, is_error};
use crate::harness::Harness;
use crate::support::{assert_kind, close, load, names, open, save, value};

/// Two other processes, which have nothing open.
fn two(harness: &dyn Harness) -> [Child; 2] {
    [Child::start(harness), Child::start(harness)]
}

/// Asks both at the same time.
fn both(children: &mut [Child; 2], questions: [String; 2]) -> [String; 2] {
    for (child, question) in children.iter_mut().zip(&questions) {
        child.ask(question);
    }
    children.each_mut().map(Child::answer)
}

fn open_both(children: &mut [Child; 2]) {
    for child in children {
        assert_eq!(child.call("open"), "Ok", "another process opens the store");
    }
}

/// Processes race for a root: exactly one wins each round, and all see its root.
pub async fn one_winner_each_round(harness: &dyn Harness) {
    let backend = open(harness).await;
    let mut children = two(harness);
    open_both(&mut children);
    let mut expected = "-".to_owned();
    for round in 0..20 {
        let roots = ["left", "right"].map(|name| format!("{round}-{name}"));
        let answers = both(&mut children, roots.each_ref().map(|next| format!("commit root {expected} {next}")));
        let winners: Vec<_> = roots.iter().zip(&answers).filter(|(_, answer)| *answer == "Ok").collect();
        assert_eq!(winners.len(), 1, "round {round}: exactly one process wins: {answers:?}");
        let lost = answers.iter().any(|answer| is_error(answer, ErrorKind::Conflict));
        assert!(lost, "round {round}: the other one is told of a conflict: {answers:?}");
        expected = winners.iter().map(|(root, _)| (*root).clone()).collect();
        assert_eq!(load(&*backend, "root").await, Some(value(&expected)), "round {round}: the root is the winner's");
        assert_eq!(load(&*backend, &format!("n/{expected}")).await, Some(value(&expected)), "round {round}: its node");
    }
}

/// Increments by compare-and-swap from two processes add up: none is lost.
pub async fn increments_add_up(harness: &dyn Harness) {
    let backend = open(harness).await;
    let mut children = two(harness);
    open_both(&mut children);
    for round in 1..=4 {
        let answers = both(&mut children, [(); 2].map(|()| "increment root 15".to_owned()));
        assert_eq!(answers, ["Ok", "Ok"]);
        assert_eq!(load(&*backend, "root").await, Some(value(&(round * 30).to_string())), "both processes added 15");
    }
}

/// Where one process at a time may have the store open, another one is `Busy` until this one has closed it, and the other
/// way round.
pub async fn second_process_is_busy(harness: &dyn Harness) {
    let backend = open(harness).await;
    save(&*backend, "k", &value("x")).await;
    let mut child = Child::start(harness);
    let answer = child.call("open");
    assert!(is_error(&answer, ErrorKind::Busy), "another process opens the store while it is open here: {answer}");
    save(&*backend, "k", &value("y")).await;
    close(backend).await;
    assert_eq!(child.call("open"), "Ok", "another process opens the store that was closed here");
    assert_kind(harness.open().await, ErrorKind::Busy, "opening a store that another process has open");
    assert_eq!(child.call("save l z"), "Ok");
    assert_eq!(child.call("close"), "Ok");
    let backend = open(harness).await;
    assert_eq!(load(&*backend, "k").await, Some(value("y")));
    assert_eq!(load(&*backend, "l").await, Some(value("z")));
}

/// A process that is killed loses nothing of what it has acknowledged, and does not keep others out.
pub async fn killed_process_loses_nothing(harness: &dyn Harness) {
    for round in 0..3 {
        let mut child = Child::start(harness);
        assert_eq!(child.call("open"), "Ok", "round {round}");
        let expected = if round == 0 { "-".to_owned() } else { format!("{}", round - 1) };
        assert_eq!(child.call(&format!("save k {round}")), "Ok");
        assert_eq!(child.call(&format!("commit root {expected} {round}")), "Ok");
        child.kill();
        let backend = open(harness).await;
        let now = Some(value(&round.to_string()));
        assert_eq!(load(&*backend, "k").await, now, "round {round}");
        assert_eq!(load(&*backend, "root").await, now, "round {round}");
        let nodes: Vec<String> = (0..=round).map(|round| format!("n/{round}")).collect();
        assert_eq!(names(&*backend, "n/").await, nodes, "round {round}");
        close(backend).await;
    }
}

/// Two processes that open the same empty store at once, each to make a keep in it if there is none: both get the same one.
pub async fn one_keep(harness: &dyn Harness) {
    let mut children = two(harness);
    let [left, right] = both(&mut children, [(); 2].map(|()| "keep".to_owned()));
    assert_eq!(left, right, "both processes have the same keep");
    assert!(left.starts_with('['), "a keep is made and found: {left}");
    let backend = open(harness).await;
    assert_eq!(names(&*backend, "").await.len(), 1, "its header is all that is there");
}
