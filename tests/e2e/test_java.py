"""`language: java` for real: this machine's own JDK and Maven, files of its repositories."""

from __future__ import annotations

import json
import re
import shutil

import pytest

pytest.importorskip("envtool_java")

MISSING = [name for name in ("java", "javac", "mvn") if not shutil.which(name, path="/usr/bin:/bin")]
pytestmark = [
    pytest.mark.e2e,
    pytest.mark.network,
    pytest.mark.dear,
    pytest.mark.one_caller,
    pytest.mark.skipif(bool(MISSING), reason=f"this machine's system has no {' and no '.join(MISSING)}"),
]

POM = """\
<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>org.example</groupId><artifactId>sums</artifactId><version>1.0</version>
  <properties>
    <maven.compiler.source>11</maven.compiler.source><maven.compiler.target>11</maven.compiler.target>
    <project.build.sourceEncoding>UTF-8</project.build.sourceEncoding>
  </properties>
  <dependencies>
    <dependency><groupId>junit</groupId><artifactId>junit</artifactId><version>4.13.2</version><scope>test</scope></dependency>
  </dependencies>
</project>
"""
TEST = """\
package x;
import org.junit.Test;
import static org.junit.Assert.*;
public class SumsTest {
    @Test public void adds() { assertEquals(3, Sums.add(1, 2)); }
    @Test public void reachesNothing() throws Exception {
        try (var socket = new java.net.Socket()) {
            socket.connect(new java.net.InetSocketAddress("192.0.2.1", 80), 500);
            fail("a test has a network");
        } catch (java.io.IOException expected) { }
    }
}
"""
SPEC = """\
envs:
  unit:
    language: java
    tasks:
      test: mvn -o -B -ntp test
      install: {run: "mvn -o -B -ntp -DskipTests install && ls /opt/maven/repository/org/example/sums/1.0"}
      build: {run: mvn -o -B -ntp -DskipTests package, outputs: [target/*.jar]}
"""


def test_a_project_of_three_lines_is_tested_and_packaged_offline(common):
    common.spec(SPEC)
    common.write("pom.xml", POM)
    common.write(
        "src/main/java/x/Sums.java", "package x; public class Sums { static int add(int a, int b) { return a + b; } }\n"
    )
    common.write("src/test/java/x/SumsTest.java", TEST)
    done = common.envtool("test", "-v")
    assert done.status == 0, done.said[-6000:]
    assert re.search(r"✓ unit +test +2 passed", done.said), done.said[-3000:]
    done = common.envtool("build", "--offline", "--expect-cached")
    assert done.status == 0, done.said[-6000:]
    assert (common.project / "target/sums-1.0.jar").stat().st_size > 500
    done = common.envtool("run", "install")
    assert done.status == 0, "a task may write into its own copy of the repository\n" + done.said[-3000:]
    assert common.envtool("lock").status == 0
    lock = (common.project / "envtool.lock").read_text()
    assert "surefire-junit4" in lock, "what runs the tests is pinned, which dependency:go-offline misses"
    assert "http" not in re.sub(r"httpc\w+|[\w.-]*http[\w.-]*/", "", lock), "pins name no repository"
    common.write("pom.xml", POM.replace("<version>1.0<", "<version>1.1<", 1))
    common.write("README.md", "sums\n")
    done = common.envtool("test", "--expect-cached", "--offline")
    assert done.status == 0, "a bump of the own version records and builds nothing\n" + done.said[-3000:]
    plan = json.loads(common.envtool("plan", "--json").out)
    assert "unit" in json.dumps(plan)


def test_tests_that_are_a_module_are_recorded_too(common):
    plugins = "".join(
        f"<plugin><artifactId>{name}</artifactId><version>{version}</version></plugin>"
        for name, version in (("maven-compiler-plugin", "3.13.0"), ("maven-surefire-plugin", "3.5.2"))
    )
    common.spec("envs:\n  unit: {language: java, tasks: {test: mvn -o -B -ntp test}}\n")
    common.write("pom.xml", POM.replace("</project>", f"<build><plugins>{plugins}</plugins></build></project>"))
    common.write("src/test/java/module-info.java", "open module x { requires junit; }\n")
    common.write(
        "src/test/java/x/ModuleTest.java",
        "package x; import org.junit.*;\n"
        'public class ModuleTest { @Test public void named() { Assert.assertEquals("x", getClass().getModule().getName()); } }\n',
    )
    done = common.envtool("test", "-v")
    assert done.status == 0, done.said[-6000:]
    assert re.search(r"✓ unit +test +1 passed", done.said), done.said[-3000:]
