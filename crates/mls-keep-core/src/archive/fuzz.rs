//! Fuzz targets of archives: bytes that somebody else has made, and what somebody who has the key may seal.

use std::io::Cursor;
use std::sync::Arc;

use futures_executor::block_on;
use fuzzing::Target;
use sha2::{Digest as _, Sha256};

use super::frame::{END_LEN, HEAD_LEN};
use super::page::PageWriter;
use super::sealed::{Sealing, Sink};
use super::{Archive, header};
use crate::fuzz::{Counted, IDENTITY, encryption};
use crate::{BackupPlan, Changes, ErrorKind, Keep, MemoryBackend, RecordRange, RestorePlan, Result, ScopeId, Value};

/// A small client, and a delta of it.
fn archives() -> [Vec<u8>; 2] {
    block_on(async {
        let backend = Arc::new(MemoryBackend::new());
        let keep = Keep::create(backend, &encryption(), Arc::new(Counted::default())).await?;
        let mut client = keep.create_client(IDENTITY).await?;
        let mut changes = Changes::new();
        changes.scope(ScopeId::client(), None).put(vec![1], Value::from(vec![1; 20]), None)?;
        let tea = changes.scope(ScopeId::group(b"tea")?, None);
        for at in 0..60_u8 {
            tea.put(vec![0x30, at], Value::from(vec![at; 400]), None)?;
        }
        client.commit(&changes).await?;
        let mut full = Vec::new();
        client.back_up(&mut full, &encryption(), &BackupPlan::new(1), &mut |_| ()).await?;
        let parent = open(&full).await?;
        let mut changes = Changes::new();
        let base = client.scope_version(&ScopeId::group(b"tea")?).await?;
        changes.scope(ScopeId::group(b"tea")?, base).put(vec![0x31], Value::from(vec![7; 5000]), None)?;
        client.commit(&changes).await?;
        let mut delta = Vec::new();
        client.back_up(&mut delta, &encryption(), &BackupPlan::new(2).since(&parent), &mut |_| ()).await?;
        Ok::<_, crate::Error>([full, delta])
    })
    .unwrap()
}

async fn open(archive: &[u8]) -> Result<Archive> {
    Archive::open(Cursor::new(archive.to_vec()), &encryption(), &mut |_| ()).await
}

/// The plaintext of an archive, as pages or as frames.
fn plaintext(archive: &[u8], as_pages: bool) -> Vec<u8> {
    let mut file: Cursor<Vec<u8>> = Cursor::new(archive.to_vec());
    let mut head = [0; header::LEN];
    std::io::Read::read_exact(&mut file, &mut head).unwrap();
    let (_, opener) = block_on(header::open(&head, &encryption())).unwrap();
    let mut sealed = super::sealed::SealedReader::new(Box::new(file), opener, archive.len() as u64).unwrap();
    let mut bytes = Vec::new();
    let mut byte = [0];
    if as_pages {
        while sealed.read(&mut byte).is_ok() {
            bytes.extend_from_slice(&byte);
        }
        return bytes;
    }
    let mut pages = super::page::PageReader::new(sealed).unwrap();
    while pages.read(&mut byte).is_ok() {
        bytes.extend_from_slice(&byte);
    }
    bytes
}

fn sealed(plaintext: &[u8], as_pages: bool) -> Vec<u8> {
    let mut out = Vec::new();
    let (header, sealer) = block_on(header::create([3; 16], &encryption(), &Counted::default())).unwrap();
    let (mut sink, mut sealing) = (Sink::new(&mut out, &header).unwrap(), Sealing::new(sealer));
    if as_pages {
        let mut sealed = Vec::new();
        sealing.push(plaintext, &mut sealed).unwrap();
        sealing.finish(&mut sealed).unwrap();
        sink.write(&sealed).unwrap();
    } else {
        let mut pages = PageWriter::new(sink, sealing).unwrap();
        pages.write(plaintext).unwrap();
        pages.finish().unwrap();
    }
    out
}

/// What opens is restored whole, or refused; in bounded memory either way.
fn use_archive(archive: &[u8], parent: &[u8]) {
    match block_on(open(archive)) {
        Ok(delta) => block_on(async {
            let (backend, entropy) = (Arc::new(MemoryBackend::new()), Arc::new(Counted::default()));
            let keep = Keep::create(backend, &encryption(), entropy).await.unwrap();
            let is_delta = matches!(delta.summary().kind, super::ArchiveKind::Delta { .. });
            let mut chain = if is_delta { vec![open(parent).await.unwrap(), delta] } else { vec![delta] };
            match keep.restore_client(&mut chain, &RestorePlan::new(&|_, _, _| true), &mut |_| ()).await {
                Ok(client) => {
                    assert!(client.verify(&mut |_| ()).await.unwrap().is_sound());
                    for scope in client.scopes().await.unwrap() {
                        client.records(&scope, &RecordRange::all().limit(100)).await.unwrap();
                    }
                }
                Err(error) => {
                    let kinds = [ErrorKind::Corrupt, ErrorKind::Invalid, ErrorKind::UnsupportedVersion];
                    assert!(kinds.contains(&error.kind()), "{error}");
                    assert!(keep.clients().await.unwrap().is_empty());
                }
            }
        }),
        Err(error) => {
            assert!(matches!(error.kind(), ErrorKind::Corrupt | ErrorKind::UnsupportedVersion), "{error}");
        }
    }
}

#[test]
fn archive() {
    let genuine = archives();
    Target::new(env!("CARGO_PKG_NAME"), "archive").seeds(genuine.clone()).run(|input| match block_on(open(input)) {
        Ok(_) => assert!(genuine.iter().any(|archive| archive == input), "a forged archive opens"),
        Err(error) => {
            let kinds = [ErrorKind::Corrupt, ErrorKind::WrongKey, ErrorKind::UnsupportedVersion];
            assert!(kinds.contains(&error.kind()), "{error}");
        }
    });
}

#[test]
fn archive_pages() {
    let [full, delta] = archives();
    let seeds = [&full, &delta].map(|archive| plaintext(archive, true));
    Target::new(env!("CARGO_PKG_NAME"), "archive_pages").seeds(seeds).run(|input| {
        use_archive(&sealed(input, true), &full);
    });
}

#[test]
fn archive_frames() {
    let [full, delta] = archives();
    let seeds = [&full, &delta].map(|archive| plaintext(archive, false));
    Target::new(env!("CARGO_PKG_NAME"), "archive_frames").seeds(seeds).run(|input| {
        let mut frames = input.to_vec();
        // The digest is made right, since hardly any input would have it by chance.
        if let Some(end) = frames.len().checked_sub(HEAD_LEN + END_LEN) {
            let digest = Sha256::digest(&frames[..end]);
            let at = frames.len() - digest.len();
            frames[at..].copy_from_slice(&digest);
        }
        use_archive(&sealed(&frames, false), &full);
    });
}
