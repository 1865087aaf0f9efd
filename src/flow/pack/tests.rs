use super::*;
use crate::base::monitor::Silent;
use crate::flow::pack::plan::plan;
use crate::plan::parity::Wish;
use crate::plan::placement::Fill;
use crate::stage::compress::Level;
use crate::stage::seal::Identity;
use std::path::{Path, PathBuf};

fn request(source: &Path, outputs: Vec<PathBuf>) -> PackRequest {
    PackRequest {
        sources: vec![source.to_path_buf()],
        recipients: vec![Identity::generate().recipient()],
        passphrase: None,
        outputs,
        volumes: None,
        volume_size: None,
        fill: Fill::Spread,
        level: Level::Quick,
        parity: Wish { lose: 0, mend: Some(0.0) },
        verify: None,
        replaced: false,
        restart: false,
    }
}

/// Packs a folder with files `a`, `b` and `c`, after the plan was tampered with; and what is on the drives.
fn packed(tamper: fn(&mut Planned)) -> (Result<PackReport, FlowError>, Vec<PathBuf>) {
    let desk = tempfile::tempdir().unwrap();
    let source = desk.path().join("source");
    std::fs::create_dir(&source).unwrap();
    ["a", "b", "c"].iter().for_each(|name| std::fs::write(source.join(name), [b'x'; 5000]).unwrap());
    let outputs = ["one", "two"].map(|name| desk.path().join(name));
    outputs.iter().for_each(|output| std::fs::create_dir(output).unwrap());
    let request = request(&source, outputs.to_vec());
    let mut planned = plan(&request, &Silent).unwrap();
    tamper(&mut planned);
    let done = pack(planned, &request, &Silent);
    let names = |folder: &Path| std::fs::read_dir(folder).into_iter().flatten().map(|name| name.unwrap().path());
    (done, outputs.iter().flat_map(|output| names(output)).flat_map(|volume| names(&volume)).collect())
}

#[test]
fn a_list_that_no_reader_takes_is_not_finished() {
    let (good, files) = packed(|_| ());
    assert!(good.is_ok() && files.iter().filter(|file| file.ends_with("SHA256SUMS")).count() == 2);
    let tampers: [fn(&mut Planned); 3] = [
        |planned| planned.walk.entries[2].path = planned.walk.entries[1].path.clone(),
        |planned| planned.walk.entries.swap(1, 2),
        |planned| planned.walk.entries[1].mtime.nanos = 1_000_000_000,
    ];
    for tamper in tampers {
        let (done, files) = packed(tamper);
        let Err(error) = done else { panic!("it is refused") };
        assert!(matches!(error, FlowError::Unopenable(_)) && error.outcome() == Outcome::Failed, "{error}");
        assert!(error.to_string().contains("the list is malformed in line "), "{error}");
        assert!(files.is_empty(), "nothing is left: {files:?}");
    }
}
