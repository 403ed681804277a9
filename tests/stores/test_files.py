"""Files for Vespa, Weaviate and Milvus: what their clients make of them, and scores by the formulas that they document.

No server of theirs has read these files.
"""

import importlib.util
import json
import struct

import numpy as np
import pytest
from support.stores import Noisy, filled

from visret import Page, Retriever, cli, stores
from visret.errors import InvalidArgument
from visret.stores import _files, milvus, vespa, weaviate

QUESTIONS = ["red green", "black white pink grey brown"]


@pytest.fixture(scope="module")
def local(tmp_path_factory):
    with filled(tmp_path_factory.mktemp("local") / "index", documents=6) as retriever:
        retriever.set_metadata("2.pdf", {"draft": True, "shelf no": 3, "mixed": "a"})
        retriever.set_metadata("3.pdf", {"mixed": 1})
        yield retriever


@pytest.fixture(scope="module", params=stores.FORMS)
def written(request, local, tmp_path_factory):
    """The name of an engine, the folder for it, and its documents."""
    folder = tmp_path_factory.mktemp("written") / request.param
    stores.write(local._index.path, folder, request.param)
    return request.param, folder, documents(folder)


def documents(folder):
    return [json.loads(line) for line in (folder / "documents.jsonl").read_text("utf8").splitlines()]


def bfloat16(digits):
    """Numbers from hexadecimal digits, four each."""
    return np.array(
        [struct.unpack(">f", bytes.fromhex(digits[at : at + 4]) + b"\0\0")[0] for at in range(0, len(digits), 4)]
    )


def fields_of(name, document):
    """What a document says of its page, and its vectors."""
    if name == "vespa":
        fields = document["fields"]
        return fields, np.array([bfloat16(digits) for digits in fields["tokens"].values()])
    if name == "weaviate":
        return document["properties"], np.array(document["vectors"]["tokens"])
    return document, np.array([one["vector"] for one in document["tokens"]])


def test_every_page_is_there_with_its_score(local, written):
    name, _, found = written
    expected = {hit.ref: hit for hit in local.search(QUESTIONS[0], k=999, exact=True)}
    assert len(found) == len(expected) == len({json.dumps(one) for one in found})
    for question in QUESTIONS:
        query = local.encoder.encode_queries([question])[0].vectors
        query = np.concatenate([query, np.ones((len(query), 1), np.float32)], axis=1)
        scores = {hit.ref: hit.score for hit in local.search(question, k=999, exact=True)}
        for document in found:
            fields, vectors = fields_of(name, document)
            max_sim = (query @ vectors.T).max(axis=1).sum()
            bound = len(query) * (2.0**-8 if name == "vespa" else 2.0**-10) * 2
            assert max_sim == pytest.approx(scores[fields["doc"], fields["page"]], abs=bound)
            assert fields["text"] == local.read((fields["doc"], fields["page"]), picture=False)[0].text


def test_metadata_are_fields_where_they_can_be(local, written):
    name, folder, found = written
    made = next(fields_of(name, one)[0] for one in found if fields_of(name, one)[0]["doc"] == "2.pdf")
    if name == "milvus":
        assert made["metadata"] == {
            "year": 2017,
            "tags": ["even", 2],
            "draft": True,
            "shelf no": 3,
            "mixed": "a",
            "source": None,
        }
        return
    assert (made["meta_year"], made["meta_draft"]) == (2017, True)
    assert json.loads(made["metadata"])["shelf no"] == 3
    assert not {"meta_mixed", "meta_tags", "meta_shelf no"} & made.keys()  # of two types, or with a space
    again = stores.write(local._index.path, folder.parent / "again", name)
    assert again.unfiltered == ("mixed", "shelf no", "tags")


def test_what_stops_leaves_no_folder_of_that_name(local, tmp_path):
    class Stopped(Exception):
        pass

    def stop(done, pages):
        if done == 3:
            raise Stopped

    folder = tmp_path / "vespa"
    with pytest.raises(Stopped):
        stores.write(local._index.path, folder, "vespa", progress=stop)
    assert not list(tmp_path.iterdir())
    folder.mkdir()
    assert stores.write(local._index.path, folder, "vespa").written == len(documents(folder))
    assert [one.name for one in tmp_path.iterdir()] == ["vespa"]
    with pytest.raises(InvalidArgument, match="holds something"):
        stores.write(local._index.path, folder, "vespa")


def test_what_cannot_be_written_is_refused(local, tmp_path, monkeypatch):
    with pytest.raises(InvalidArgument, match="vespa, weaviate, milvus"):
        stores.write(local._index.path, tmp_path / "x", "solr")
    with pytest.raises(InvalidArgument, match="address of a store"):
        stores.write(local._index.path, "qdrant://host/pages", "vespa")
    with Retriever.create(tmp_path / "empty", model=Noisy()), pytest.raises(InvalidArgument, match="no pages"):
        stores.write(tmp_path / "empty", tmp_path / "x", "vespa")
    monkeypatch.setattr(milvus, "MAX_VECTORS", 5)
    with pytest.raises(InvalidArgument, match="--pool 2"):
        stores.write(local._index.path, tmp_path / "x", "milvus")
    monkeypatch.setattr(milvus, "MAX_VECTORS", 4096)
    monkeypatch.setattr(milvus, "MAX_BYTES", 100)
    with pytest.raises(InvalidArgument, match=r"its text has .* bytes"):
        stores.write(local._index.path, tmp_path / "x", "milvus")
    assert not (tmp_path / "x").exists()


def test_the_command_writes_them(local, tmp_path, capsys):
    assert cli.main(["export", str(local._index.path), str(tmp_path / "made"), "--to", "weaviate"]) == 0
    said = capsys.readouterr()
    assert f"{len(local._index.snapshot)} pages written for weaviate" in said.out
    assert "metadata mixed, shelf no, tags" in said.err
    assert cli.main(["export", str(local._index.path), str(tmp_path / "made"), "--to", "weaviate", "--keep"]) == 2


# ---- Vespa


def test_cells_are_those_of_vespas_documentation():
    """The first are the upper halves of the float32 digits in "Document JSON Format", rounded."""
    cells = np.array([0.1111111119389534, 0.4444444477558136, 1.0, -2.0, 0.0, 1 + 2.0**-8, 1 + 3 * 2.0**-8])
    assert vespa._hex(cells) == "3de43ee43f80c00000003f803f82"


def test_strings_have_no_signs_that_vespa_refuses(tmp_path):
    with Retriever.create(tmp_path / "index", model=Noisy()) as retriever:
        retriever.add_pages([Page.from_text("red", doc="a\x01b\tc\ufffe", metadata={"by": ["x\x02"]})])
        stores.write(retriever._index.path, tmp_path / "vespa", "vespa")
    fields = documents(tmp_path / "vespa")[0]["fields"]
    assert (fields["doc"], fields["meta_by"]) == ("a b\tc ", ["x "])


@pytest.mark.parametrize("dim", [9])
def test_the_application_is_the_one_that_pyvespa_makes(dim, tmp_path):
    package = pytest.importorskip("vespa.package", reason="pip install pyvespa for this test")
    tensor = f"tensor<bfloat16>(token{{}}, x[{dim}])"

    def field(name, kind, **how):
        if "string" in kind:
            how = {"match": ["word"], **how}
        return package.Field(name, kind, indexing=["attribute", "summary"], attribute=["fast-search"], **how)

    def max_sim(name):
        return f"sum(reduce(sum(query(question) * cell_cast(attribute({name}), float), x), max, token), word)"

    inputs = [("query(question)", f"tensor<float>(word{{}}, x[{dim}])")]
    second = package.SecondPhaseRanking(max_sim("tokens"), rerank_count=320)
    schema = package.Schema(
        "pages",
        package.Document(
            fields=[
                field("doc", "string"),
                field("page", "int"),
                package.Field("text", "string", indexing=["index", "summary"], index="enable-bm25"),
                field("source", "string"),
                package.Field("metadata", "string", indexing=["summary"]),
                package.Field("meta_draft", "bool", indexing=["attribute", "summary"]),
                field("meta_sizes", "array<double>"),
                field("meta_tags", "array<string>"),
                field("meta_year", "double"),
                package.Field("tokens", tensor, indexing=["attribute"], attribute=["paged"]),
                package.Field("summaries", tensor, indexing=["attribute"]),
            ]
        ),
        fieldsets=[package.FieldSet("default", ["text"])],
        rank_profiles=[
            package.RankProfile("exact", inputs=inputs, first_phase=max_sim("tokens")),
            package.RankProfile("late", inputs=inputs, first_phase=max_sim("summaries"), second_phase=second),
            package.RankProfile("bm25", first_phase="bm25(text)"),
        ],
    )
    made = package.ApplicationPackage("visret", schema=[schema], create_query_profile_by_default=False)
    made.to_files(tmp_path)
    fields = {"draft": "bool", "sizes": "number[]", "tags": "text[]", "year": "number"}
    expected = {str(one.relative_to(tmp_path)): one.read_text("utf8") for one in tmp_path.rglob("*") if one.is_file()}
    assert vespa.files(_files.Shape(dim, 100, fields)) == expected


# ---- Weaviate


def test_the_collection_is_the_one_that_weaviates_client_makes():
    if not importlib.util.find_spec("weaviate"):
        pytest.skip("pip install weaviate-client for this test")
    from weaviate.classes.config import (
        Configure,
        DataType,
        MultiVectorAggregation,
        Property,
        Tokenization,
        VectorDistances,
    )
    from weaviate.collections.classes.config import _CollectionConfigCreate

    def whole(name, kind=DataType.TEXT):
        return Property(name=name, data_type=kind, tokenization=Tokenization.FIELD)

    multi = Configure.VectorIndex.MultiVector.multi_vector(aggregation=MultiVectorAggregation.MAX_SIM)
    made = _CollectionConfigCreate(
        name=weaviate.COLLECTION,
        properties=[
            whole("doc"),
            Property(name="page", data_type=DataType.INT),
            Property(name="text", data_type=DataType.TEXT),
            whole("source"),
            whole("metadata"),
            Property(name="meta_draft", data_type=DataType.BOOL),
            Property(name="meta_sizes", data_type=DataType.NUMBER_ARRAY),
            whole("meta_tags", DataType.TEXT_ARRAY),
            Property(name="meta_year", data_type=DataType.NUMBER),
        ],
        vector_config=[
            Configure.MultiVectors.self_provided(
                name="tokens",
                vector_index_config=Configure.VectorIndex.hnsw(distance_metric=VectorDistances.DOT),
                multi_vector_config=multi,
            )
        ],
    )._to_dict()
    for one in made["properties"]:  # for modules that make vectors themselves
        del one["skip_vectorization"], one["vectorize_property_name"]
    fields = {"draft": "bool", "sizes": "number[]", "tags": "text[]", "year": "number"}
    assert json.loads(weaviate.files(_files.Shape(9, 100, fields))["collection.json"]) == made


def test_weaviates_client_packs_the_objects(local, tmp_path):
    if not importlib.util.find_spec("weaviate"):
        pytest.skip("pip install weaviate-client for this test")
    from weaviate.collections.batch.grpc_batch import _BatchGRPC, _BatchObject
    from weaviate.util import _ServerVersion

    stores.write(local._index.path, tmp_path / "weaviate", "weaviate")
    packing = _BatchGRPC(_ServerVersion(1, 34, 0), None, None)
    for at, one in enumerate(documents(tmp_path / "weaviate")):
        packed = packing.grpc_object(
            _BatchObject(one["class"], one["vectors"], one["id"], one["properties"], None, None, at)
        )
        (vector,) = packed.vectors
        assert (packed.uuid, vector.name, vector.type) == (one["id"], "tokens", vector.VECTOR_TYPE_MULTI_FP32)
        (dim,) = struct.unpack("<H", vector.vector_bytes[:2])
        sent = np.frombuffer(vector.vector_bytes[2:], np.float32).reshape(-1, dim)
        assert (sent == np.array(one["vectors"]["tokens"], np.float32)).all()


# ---- Milvus


def test_pymilvus_takes_the_schema_the_rows_and_a_question(local, tmp_path):
    pymilvus = pytest.importorskip("pymilvus", reason="pip install pymilvus for this test")
    from pymilvus.client.embedding_list import EmbeddingList
    from pymilvus.client.prepare import Prepare

    folder = tmp_path / "milvus"
    stores.write(local._index.path, folder, "milvus")
    said = json.loads((folder / "schema.json").read_text())
    schema = pymilvus.CollectionSchema.construct_from_dict(said)
    assert json.loads(json.dumps(schema.to_dict(), default=int)) == said
    Prepare.create_collection_request("pages", schema)
    found = documents(folder)
    sent = Prepare.row_insert_param("pages", found, "", schema.to_dict()["fields"], schema.to_dict()["struct_fields"])
    assert sent.num_rows == len(found)
    index = json.loads((folder / "index.json").read_text())
    (made,) = (indexes := pymilvus.MilvusClient.prepare_index_params()).add_index(**index) or indexes
    assert (made.field_name, made.to_dict()["metric_type"]) == ("tokens[vector]", "MAX_SIM_IP")
    query = local.encoder.encode_queries(["red green"])[0].vectors
    asked = EmbeddingList(list(np.concatenate([query, np.ones((len(query), 1), np.float32)], axis=1)))
    request = Prepare.search_requests_with_expr(
        "pages",
        "tokens[vector]",
        {"metric_type": "MAX_SIM_IP"},
        10,
        data=[asked.to_flat_array()],
        is_embedding_list=True,
    )
    assert request.nq == 1
