# SPDX-License-Identifier: Apache-2.0
"""Profiles that people write: what is read, and that every mistake names its file and line."""

import pickle
import re
from contextlib import suppress
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgepack.device.profile import DeviceProfile, device_names, device_path, load_device, parse_profile
from edgepack.device.yaml import parse_document
from edgepack.errors import ProfileError
from edgepack.measure.latency import OpCost, predict_latency
from edgepack.model.precision import Precision

SHIPPED = device_path("rpi4").read_text()
MCU = device_path("nrf52840").read_text()
GPU = device_path("jetson-orin-nano").read_text()
CPU_TOO = """
  - name: onnxruntime
    version: 1.31.1
    kernels: mlas
    threads: 1
    precisions: [f32]
"""


@pytest.fixture
def write(tmp_path):
    def put(text, name="my_board.yaml"):
        path = tmp_path / name
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    return put


def line_of(text, needle):
    return next(number for number, line in enumerate(text.splitlines(), 1) if needle in line)


def refused(path, **options):
    with pytest.raises(ProfileError) as caught:
        load_device(str(path), **options)
    return caught.value


def test_a_profile_gives_plain_values_and_their_sources():
    profile = load_device("rpi4")
    assert (profile.device_class, profile.cpu.arch, profile.cpu.core) == ("linux", "aarch64", "Cortex-A72")
    assert (profile.cpu.cores, profile.cpu.clock_hz, profile.cpu.isa) == (4, 1_500_000_000, ("neon",))
    assert profile.memory.ram.total_bytes == 4 * 2**30
    assert profile.ram_available_bytes == profile.memory.ram.available_bytes
    assert profile.flash_available_bytes is None
    assert (profile.runtime.name, profile.runtime.version, profile.runtime.kernels) == ("litert", "2.3.0", "xnnpack")
    assert set(profile.runtime.precisions) == set(Precision) - {Precision.W4A8, Precision.W4}, "those come with steps"
    clock = next(named for named in profile.facts() if named.name == "cpu.clock")
    assert clock.verified
    assert "MLPerf" in clock.source.text


def test_a_person_s_own_file_works_by_path(write):
    path = write(SHIPPED.replace("name: rpi4", "name: my_board").replace("1.5GHz", "1.8GHz"))
    profile = load_device(str(path))
    assert (profile.name, profile.cpu.clock_hz) == ("my_board", 1_800_000_000)
    assert profile.digest != load_device("rpi4").digest


def test_the_digest_counts_content_and_reserves_but_no_comment(write):
    assert load_device(str(write("# a comment\n" + SHIPPED))).digest == load_device("rpi4").digest
    assert load_device("rpi4", reserve_ram_bytes=2**20).digest != load_device("rpi4").digest
    assert load_device("rpi4", reserve_ram_bytes=0).digest == load_device("rpi4").digest


def test_an_unknown_device_offers_the_nearest_and_the_path_hint():
    error = refused("rpi44")
    assert error.code == "EP-300"
    assert "did you mean 'rpi4'" in error.message
    assert "my_board.yaml" in error.hint


@pytest.mark.parametrize(
    ("old", "new", "code", "words"),
    [
        ("total: {value: 4GiB", "total: {value: 256m", "EP-311", "m is milli, did you mean 256MiB?"),
        ("total: {value: 4GiB", "total: {value: 2048", "EP-310", "2048 has no unit: did you mean 2048KiB or 2048MiB?"),
        ("total: {value: 4GiB", "total: {value: true", "EP-313", "True is not a size"),
        ("clock: {value: 1.5GHz", "clock: {value: 1e3", "EP-310", "1000.0 has no unit"),
        ("clock: {value: 1.5GHz", "clock: {value: 5mHz", "EP-311", "m is milli, did you mean 5MHz?"),
        ("active: {value: 6.4W", "active: {value: 30m", "EP-311", "did you mean 30mW?"),
        ("clock: {value: 1.5GHz", "clock: {value: 0MHz", "EP-307", "greater than 0"),
        ("cores: {value: 4", "cores: {value: on", "EP-307", "'on': input should be a valid integer"),
        ("cores: {value: 4", "cores: {value: 4.5", "EP-307", "4.5: input should be a valid integer"),
        ("cores: {value: 4", 'cores: {value: "4"', "EP-307", "'4': input should be a valid integer"),
        ("cores: {value: 4", "cores: {value: 1:30", "EP-307", "'1:30': input should be a valid integer"),
        ("version: 2.3.0", "version: 2.3", "EP-307", "2.3 was read as a number; put it in quotes"),
        ("version: 2.3.0", "version: '>=2.3'", "EP-307", "'>=2.3'"),
        ("    kernels: xnnpack\n", "", "EP-306", "the key 'kernels' is missing"),
        ("  arch: aarch64", "  archh: aarch64", "EP-305", "unknown key 'archh'; did you mean 'arch'?"),
        ("class: linux", "class: linux\nmemmory: 1", "EP-305", "unknown key 'memmory'; did you mean 'memory'"),
        ("class: linux", "class: toaster", "EP-307", "'toaster': input should be 'linux' or 'mcu'"),
        ("[f32, w16,", "[f32, w17,", "EP-307", "'w17'"),
        ("[f32, w16,", "[f32, f32,", "EP-321", "a precision twice"),
        ("source: mlperf-fit", "source: mlprf-fit", "EP-308", "no source 'mlprf-fit'; did you mean 'mlperf-fit'"),
        ("core: {value: Cortex-A72, source: mlperf}", "core: Cortex-A72", "EP-307", "should be a mapping"),
        ("reserved: {value: 512MiB", "reserved: {value: 5GiB", "EP-323", "5GiB reserved of 4GiB leaves nothing"),
        ("threads: 4", "threads: 8", "EP-321", "8 threads on 4 cores"),
        ("litert", "litart", "EP-321", "unknown runtime 'litart'; did you mean 'litert'"),
        ("litert", "tflm", "EP-321", "tflm runs on microcontrollers"),
        ("litert", "onnxruntime", "EP-321", "onnxruntime on aarch64 has no xnnpack kernels"),
        ("widen: {value: 2.5", "widen: {value: 2", "EP-322", "onnxruntime is another engine than tflite"),
        ("kernels: xnnpack", "kernels: cmsis-nn", "EP-321", "litert on aarch64 has no cmsis-nn kernels"),
        ("spread: {value: 2,", "spread: {value: 1.2,", "EP-322", "needs a spread of at least 2, not 1.2"),
        ("spread: {value: 4,", "spread: {value: 3,", "EP-322", "a datasheet band needs a spread of at least 4"),
        ("- arithmetic: int8", "- arithmetic: f32", "EP-322", "a second entry for f32"),
        ("    rate: {value: 35GMAC/s, source: mlperf-fit}\n", "", "EP-322", "either rate or macs_per_cycle"),
        ("latency: {value: 100ms", "latency: {value: -5ms", "EP-312", "negative"),
        ("budget:", "budget:\n  ram: {value: 1MiB, source: edgepack}", "EP-304", "stands on line"),
        ("cpu:", "cpu: &x", "EP-303", "anchors and aliases are not allowed"),
        ("cpu:", "cpu: !!python/object:os.system", "EP-303", "tags such as"),
        ("class: linux", "class: linux: mcu", "EP-302", "not valid YAML"),
        ("class: linux", "class: [linux", "EP-302", "not valid YAML"),
        ("class: linux", "class: lin\x00ux", "EP-302", "not valid YAML"),
        ("class: linux", "class: linux\n? [a, b]\n: 1", "EP-302", "a key must be a word"),
    ],
)
def test_every_mistake_names_code_file_and_line(write, old, new, code, words):
    assert old in SHIPPED
    text = SHIPPED.replace(old, new, 1)
    path = write(text)
    error = refused(path)
    assert (error.code, words in error.message) == (code, True), error.message
    assert f"{path}:" in error.message
    assert error.hint


@pytest.mark.parametrize(
    ("old", "new", "at"),
    [
        ("total: {value: 4GiB", "total: {value: 256m", "256m"),
        ("    kernels: xnnpack", "    kernles: xnnpack", "kernles"),
        ("version: 2.3.0", "version: 2.3", "version: 2.3"),
        ("source: mlperf-fit", "source: mlprf-fit", "mlprf-fit"),
        ("spread: {value: 2,", "spread: {value: 1.2,", "value: 1.2,"),
        ("threads: 4", "threads: 8", "threads: 8"),
        ("cpu:", "cpu: &x", "cpu: &x"),
        ("class: linux", "class: lin\x00ux", "class: lin"),
    ],
)
def test_the_line_is_the_one_of_the_mistake(write, old, new, at):
    text = SHIPPED.replace(old, new, 1)
    path = write(text)
    assert f"{path}:{line_of(text, at)}" in refused(path).message


def test_all_mistakes_of_a_file_are_told_at_once_in_order(write):
    text = SHIPPED.replace("1.5GHz", "1.5Ghz").replace("value: 4GiB", "value: 4096").replace("threads: 4", "thread: 4")
    lines = refused(write(text)).message.split("\n")
    assert ["1.5Ghz" in lines[0], "4096" in lines[1], len(lines)] == [True, True, 6]


@pytest.mark.parametrize("runtime", ["litert", "onnxruntime"])
def test_a_runtime_without_a_wheel_for_the_architecture_is_refused(write, runtime):
    text = SHIPPED.replace("arch: aarch64", "arch: armv7").replace("name: litert", f"name: {runtime}")
    path = write(text)
    error = refused(path)
    assert error.code == "EP-320"
    assert f"{path}:{line_of(text, f'name: {runtime}')} runtimes[0].name" in error.message
    assert f"{runtime} has no wheel for armv7" in error.message
    assert error.hint == "for armv7 there is tflite-runtime"


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("name: onnxruntime\n    version: 1.23.2", "name: litert\n    version: 2.3.0", "litert has no providers"),
        ("\ngpu:\n", "\nnpu:\n", "a provider without a GPU"),
        ("precisions: [f32, w16, w8a8, w8a8-per-tensor]", "precisions: [f32, w8]", "w8 would run on the processor"),
        ("\n# t = MACs", CPU_TOO + "\n# t = MACs", "runtimes on the GPU and on the processor in one profile"),
    ],
)
def test_a_provider_needs_a_gpu_that_all_figures_are_of(write, old, new, words):
    assert old in GPU
    text = GPU.replace(old, new, 1).replace("mlas", "xnnpack" if "litert" in new else "mlas")
    error = refused(write(text))
    assert (error.code, words in error.message) == ("EP-321", True), error.message
    assert error.hint


def test_a_gpu_s_runtime_says_where_its_package_comes_from(write):
    text = re.sub(r"    origin:\n.*\n.*\n", "", GPU)
    error = refused(write(text))
    assert (error.code, "where its package comes from" in error.message) == ("EP-321", True), error.message


def test_an_unknown_provider_is_refused(write):
    error = refused(write(GPU.replace("provider: tensorrt", "provider: rocm")))
    assert (error.code, "'rocm'" in error.message) == ("EP-307", True)


def test_a_release_that_never_was_is_refused(write):
    text = SHIPPED.replace("name: litert", "name: tflite-runtime").replace("2.3.0", "2.15.0")
    error = refused(write(text))
    assert (error.code, "ended with 2.14.0" in error.message) == ("EP-320", True)


def test_a_yaml_bomb_is_refused_before_it_expands(write):
    rows = ["a: &a [lol, lol, lol, lol]"]
    rows += [f"{key}: &{key} [*{before}, *{before}, *{before}, *{before}]" for before, key in pairwise("abcdefghi")]
    path = write("\n".join(rows))
    error = refused(path)
    assert (error.code, f"{path}:1: anchors" in error.message) == ("EP-303", True)


def test_deep_nesting_is_refused(write):
    error = refused(write("name: " + "[" * 5000))
    assert (error.code, "levels of nesting" in error.message) == ("EP-303", True)


def test_a_file_of_another_kind_is_refused(write):
    assert refused(write(b"name: x\ntitle: caf\xe9\n")).message.endswith("my_board.yaml:2: byte 0xe9 is not UTF-8")
    assert "larger than 64 KiB" in refused(write("# x\n" * 40000)).message
    assert "mapping of keys" in refused(write("- a\n- b\n")).message
    assert "mapping of keys" in refused(write("")).message
    assert "not valid YAML" in refused(write("a: 1\n---\nb: 2\n")).message


def test_a_file_that_is_not_there_or_not_a_file_is_refused(tmp_path):
    missing = refused(tmp_path / "none.yaml")
    assert (missing.code, "No such file" in missing.message) == ("EP-301", True)
    (tmp_path / "folder.yaml").mkdir()
    assert refused(tmp_path / "folder.yaml").code == "EP-301"


def test_a_microcontroller_without_flash_is_refused(write):
    head, rest = MCU.split("  flash:\n", 1)
    tail = rest.split("\nruntimes:", 1)[1]
    error = refused(write(head + "\nruntimes:" + tail))
    assert (error.code, "needs its flash" in error.message) == ("EP-323", True)


def test_a_precision_without_latency_parameters_is_refused(write):
    start, end = SHIPPED.index("  # Reference kernels"), SHIPPED.index("power:")
    error = refused(write(SHIPPED[:start] + "\n" + SHIPPED[end:]))
    assert (error.code, "w8a16 needs a latency entry for int16" in error.message) == ("EP-322", True)


def test_reserves_come_on_top_of_the_profile_s_own():
    plain, reserved = (
        load_device("nrf52840"),
        load_device("nrf52840", reserve_ram_bytes=2**16, reserve_flash_bytes=2**17),
    )
    assert reserved.ram_available_bytes == plain.ram_available_bytes - 2**16
    assert reserved.flash_available_bytes == plain.flash_available_bytes - 2**17
    assert DeviceProfile.model_validate(reserved.as_plain()) == reserved
    held = next(named for named in reserved.facts() if named.name == "memory.ram.reserved")
    assert "--reserve-ram" in held.source.text


@pytest.mark.parametrize(
    ("device", "options", "words"),
    [
        ("nrf52840", {"reserve_ram_bytes": 2**18}, "--reserve-ram 256KiB leaves nothing of the 224KiB"),
        ("nrf52840", {"reserve_flash_bytes": 2**30}, "--reserve-flash 1GiB leaves nothing"),
        ("rpi4", {"reserve_flash_bytes": 1}, "rpi4 has no flash that is a limit"),
    ],
)
def test_a_reserve_that_leaves_nothing_is_refused(device, options, words):
    error = refused(device, **options)
    assert (error.code, words in error.message) == ("EP-330", True)


def test_a_shipped_name_is_not_shadowed_by_a_file_beside(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "rpi4").write_text("name: other")
    assert load_device("rpi4").name == "rpi4"
    assert "rpi4" in device_names()


@given(st.binary(max_size=200))
def test_any_bytes_are_a_profile_or_a_located_error(raw):
    with suppress(ProfileError):
        parse_profile(parse_document(raw, "x.yaml"))


@given(st.integers(0, len(SHIPPED) - 1), st.integers(0, 40), st.text("{}[]:,-'\"&*!|>#%@ \n\t<0é", max_size=3))
def test_any_slip_of_the_pen_is_a_profile_or_a_located_error(start, cut, slip):
    text = SHIPPED[:start] + slip + SHIPPED[start + cut :]
    message = "x.yaml: read"
    try:
        parse_profile(parse_document(text.encode(), "x.yaml"))
    except ProfileError as error:
        message = error.message
    assert message.startswith("x.yaml:")


def test_a_profile_travels_to_a_worker_process():
    profile = load_device("rpi4", reserve_ram_bytes=2**20)
    again = pickle.loads(pickle.dumps(profile))  # noqa: S301  # its own bytes
    assert (again, again.digest) == (profile, profile.digest)


def test_a_profile_keeps_the_runtimes_of_a_format():
    profile = load_device("rpi4")
    assert profile.taking(()) == profile
    assert [item.name for item in profile.taking(("onnx",)).runtimes] == ["onnxruntime"]
    assert profile.taking(("onnx", "tflite")).runtime.name == "litert"
    with pytest.raises(ProfileError) as caught:
        load_device("stm32h747").taking(("onnx",))
    assert caught.value.code == "EP-338"
    assert "stm32h747 has no runtime that takes onnx: it has tflite (tflm" in caught.value.message


def test_the_band_is_wider_for_another_engine_than_it_was_fitted_to():
    profile = load_device("rpi4")
    here, there = (
        predict_latency([OpCost("Conv", 10**6, 10**4)], profile, runtime=item, precision=Precision.W8A8)
        for item in profile.runtimes
    )
    assert here.value == there.value
    assert there.ci_high == pytest.approx(2.5 * here.ci_high)
