"""CacheService beyond what `depot ci run` needs: by prefix, lists, bundles of segments."""

from __future__ import annotations

from typing import Any

from tests.dialects.depot_routes.conftest import House
from tests.services import PLAIN


def call(house: House, method: str, body: Any, **more: Any) -> Any:
    return house.request(
        "POST", f"/depot.cache.v1.CacheService/{method}", json={"entryType": "generic", **body}, **more
    ).json()


def put(house: House, key: str, data: bytes, **more: Any) -> None:
    made = call(house, "CreateEntry", {"key": key})
    (url,) = made["uploadPartUrls"]
    etag = house.request("PUT", url.removeprefix("http://ci.test"), token=None, content=data).headers["etag"]
    done = {"entryId": made["entryId"], "sizeBytes": len(data), "uploadPartEtags": [etag], **more}
    assert "id" in call(house, "FinalizeEntry", done)


def fetched(house: House, url: str) -> bytes:
    return house.request("GET", url.removeprefix("http://ci.test"), token=None).content


def test_the_newest_of_the_first_prefix_that_has_one(house: House) -> None:
    for n, key in enumerate(("deps-1", "deps-2", "other-1")):
        house.time[0] += 1000 * n
        put(house, key, key.encode())
    found = call(house, "GetDownloadURLByPrefix", {"keyPrefixes": "nothing\ndeps-\nother-"})
    assert found["matchedKey"] == "deps-2" and fetched(house, found["url"]) == b"deps-2"
    assert call(house, "GetDownloadURLByPrefix", {"keyPrefixes": "x"})["code"] == "not_found"
    assert call(house, "GetDownloadURLByPrefix", {})["code"] == "invalid_argument"
    assert call(house, "GetDownloadURLByPrefix", {"keyPrefixes": "deps-"}, token=PLAIN)["code"] == "not_found"


def test_lists_page_and_show_only_ones_own(house: House) -> None:
    for n in range(5):
        put(house, f"k{n}", b"x" * n)
    call(house, "CreateEntry", {"key": "k-unfinished"})
    first = call(house, "ListEntries", {"keyPrefix": "k", "pageSize": 3})
    assert [e["key"] for e in first["entryIds"]] == ["k0", "k1", "k2"]
    rest = call(house, "ListEntries", {"keyPrefix": "k", "pageSize": 3, "pageToken": first["nextPageToken"]})
    assert [e["key"] for e in rest["entryIds"]] == ["k3", "k4"] and "nextPageToken" not in rest
    assert len(call(house, "ListEntries", {})["entryIds"]) == 5
    assert call(house, "ListEntries", {}, token=PLAIN) == {}
    assert call(house, "ListEntries", {"pageToken": "zzz"})["code"] == "invalid_argument"


def test_a_bundle_is_found_by_its_segments_and_goes_whole(house: House) -> None:
    segments = [{"subkey": "a", "size": 2}, {"subkey": "b", "offset": 2, "size": 3}]
    put(house, "bundle", b"aabbb", segments=segments)
    found = call(house, "GetBundle", {"subkey": "b"})
    assert found["key"] == "bundle" and found["segments"] == [
        {"subkey": "a", "size": "2"},
        {"subkey": "b", "offset": "2", "size": "3"},
    ]
    assert fetched(house, found["url"])[2:5] == b"bbb"
    put(house, "newer", b"B", segments=[{"subkey": "b", "size": 1}])
    assert call(house, "GetBundle", {"subkey": "b"})["key"] == "newer"
    call(house, "DeleteEntry", {"key": "bundle"})
    assert call(house, "GetBundle", {"subkey": "a"})["code"] == "not_found"
    assert call(house, "GetBundle", {"subkey": "b"})["key"] == "newer"
    made = call(house, "CreateEntry", {"key": "broken"})
    (url,) = made["uploadPartUrls"]
    etag = house.request("PUT", url.removeprefix("http://ci.test"), token=None, content=b"x").headers["etag"]
    body = {"entryId": made["entryId"], "sizeBytes": 1, "uploadPartEtags": [etag]}
    assert (
        call(house, "FinalizeEntry", {**body, "segments": [{"subkey": "a", "size": 9}]})["code"]
        == "invalid_argument"
    )
    assert (
        call(house, "FinalizeEntry", {**body, "segments": [{"subkey": "a"}, {"subkey": "a"}]})["code"]
        == "invalid_argument"
    )
    assert call(house, "FinalizeEntry", {**body, "children": [{"key": "a"}]})["code"] == "unimplemented"
