//! The same bytes over HTTPS: whole, in ranges and by chunk, for devices only.

use outpost_contract::Blake3;
use outpost_contract::limits::CHUNK_BYTES;
use reqwest::header::{CONTENT_RANGE, ETAG, IF_RANGE, RANGE};

use crate::site::{Site, chunk_ids};

fn content() -> Vec<u8> {
    (0..3 * CHUNK_BYTES + 77).map(|at| (at % 251) as u8).collect()
}

fn id(content: &[u8]) -> Blake3 {
    Blake3(*blake3::hash(content).as_bytes())
}

#[tokio::test]
async fn a_device_downloads_a_file_whole_in_ranges_and_by_chunk() {
    let (site, content) = (Site::start().await, content());
    site.release(Some(&content)).await;
    let client = site.https(Some(&site.enrol("till-1").await));
    let url = format!("{}/v1/blobs/{}", site.running().url(), id(&content));

    let whole = client.get(&url).send().await.unwrap();
    assert_eq!(whole.status(), 200);
    assert_eq!(whole.headers()[ETAG], format!("\"{}\"", id(&content)));
    assert_eq!(whole.content_length(), Some(content.len() as u64));
    assert!(whole.bytes().await.unwrap() == content);

    let head = client.head(&url).send().await.unwrap();
    assert_eq!(head.headers()["content-length"], content.len().to_string());
    assert!(head.bytes().await.unwrap().is_empty());

    for (range, first, last) in
        [("bytes=0-0", 0, 0), ("bytes=100-600000", 100, 600_000), ("bytes=-7", content.len() - 7, content.len() - 1)]
    {
        let part = client.get(&url).header(RANGE, range).send().await.unwrap();
        assert_eq!(part.status(), 206, "{range}");
        assert_eq!(part.headers()[CONTENT_RANGE], format!("bytes {first}-{last}/{}", content.len()));
        assert!(part.bytes().await.unwrap() == content[first..=last], "{range}");
    }
    let beyond = client.get(&url).header(RANGE, format!("bytes={}-", content.len())).send().await.unwrap();
    assert_eq!(beyond.status(), 416);
    assert_eq!(beyond.headers()[CONTENT_RANGE], format!("bytes */{}", content.len()));
    let changed = client.get(&url).header(RANGE, "bytes=0-0").header(IF_RANGE, "\"another\"").send().await.unwrap();
    assert_eq!(changed.status(), 200, "a range of another version is of no use");

    for (number, chunk) in chunk_ids(&content).iter().enumerate() {
        let url = format!("{}/v1/chunks/{chunk}", site.running().url());
        let bytes = client.get(url).send().await.unwrap().bytes().await.unwrap();
        assert!(bytes == content.chunks(CHUNK_BYTES).nth(number).unwrap());
    }
    for unknown in ["v1/chunks", "v1/blobs"] {
        let url = format!("{}/{unknown}/{}", site.running().url(), Blake3([7; 32]));
        assert_eq!(client.get(url).send().await.unwrap().status(), 404);
        let url = format!("{}/{unknown}/..%2Fcontrol.db", site.running().url());
        assert_eq!(client.get(url).send().await.unwrap().status(), 400);
    }
}

#[tokio::test]
async fn nobody_but_an_admitted_device_downloads() {
    let (site, content) = (Site::start().await, content());
    site.release(Some(&content)).await;
    let till = site.enrol("till-1").await;
    let url = format!("{}/v1/blobs/{}", site.running().url(), id(&content));
    assert_eq!(site.https(None).get(&url).send().await.unwrap().status(), 401);
    let client = site.https(Some(&till));
    assert_eq!(client.get(&url).send().await.unwrap().status(), 200);
    let name = till.name.clone();
    site.fleet.run(move |fleet| fleet.revoke(&name)).await.unwrap();
    // On the very connection that was let in before.
    assert_eq!(client.get(&url).send().await.unwrap().status(), 403);
}
